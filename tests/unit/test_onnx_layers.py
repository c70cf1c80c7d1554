"""Each kind of quantized Linear computes in ONNX Runtime what it computes in torch."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from stages.engines.int8 import onnx_form as int8_form
from stages.engines.int8.layers import quantize_layers
from stages.engines.int8.quantizers import Activations, Range
from stages.engines.torch_dynamic import layers as torch_dynamic
from stages.engines.torch_dynamic import onnx_form as torch_dynamic_form
from stages.variants.torchao_int8 import layers as torchao
from stages.variants.torchao_int8 import onnx_form as torchao_form

INPUTS, OUTPUTS = 16, 9
OURS = {
    f"{granularity} {'symmetric' if symmetric else 'asymmetric'} {bits} bits": Activations(
        granularity, symmetric, bits
    )
    for granularity in ("per_token", "per_tensor", "static")
    for symmetric in ((False,) if granularity == "static" else (False, True))
    for bits in (7, 8)
}
TORCHAO = {"torchao 8 bits": False, "torchao 7 bits": True} if find_spec("torchao") else {}
NAMES = [*OURS, *torch_dynamic.CONFIGS, *TORCHAO]


def quantized(name: str) -> nn.Module:
    """One Linear, the same for every `name` but for how it is quantized; as it is loaded."""
    torch.manual_seed(0)
    module: nn.Module = nn.Sequential(nn.Linear(INPUTS, OUTPUTS)).requires_grad_(False)
    if name in OURS:
        ranges = {"0": Range(-2.0, 2.5)} if OURS[name].granularity == "static" else None
        return quantize_layers(module, OURS[name], ranges=ranges)
    if name in torch_dynamic.CONFIGS:
        torch_dynamic.use_engine("fbgemm")
        return torch_dynamic.quantize_linears(module, name)
    torchao.quantize_linears(module, TORCHAO[name])
    return module


def for_onnx(name: str) -> nn.Module:
    if name in OURS:
        return int8_form.with_onnx_linears(quantized(name))
    form = torch_dynamic_form if name in torch_dynamic.CONFIGS else torchao_form
    return form.with_onnx_linears(quantized(name))


class SideBySide(nn.Module):
    """All kinds on the same input: one export instead of one for each."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = nn.ModuleList(for_onnx(name) for name in NAMES)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(kind(x) for kind in self.kinds)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    file: Path = tmp_path_factory.mktemp("onnx") / "layers.onnx"
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            SideBySide().eval(),
            (torch.randn(2, 5, INPUTS),),
            str(file),
            input_names=["x"],
            output_names=[name.replace(" ", "_") for name in NAMES],
            dynamic_shapes=(shape,),
            dynamo=True,
            verbose=False,
        )
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(2, 5), (7, 3), (1, 1)])
def test_a_layer_gives_the_same_in_onnx(
    name: str, shape: tuple[int, int], session: onnxruntime.InferenceSession
) -> None:
    if name == "torchao 8 bits" and not torch.cpu._is_vnni_supported():
        pytest.skip("8-bit products overflow int16 on this CPU, which has no VNNI")
    x = torch.randn(*shape, INPUTS, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = quantized(name)(x).numpy()
    (found,) = session.run([name.replace(" ", "_")], {"x": x.numpy()})
    assert found.shape == expected.shape
    # Where an activation lies between two levels, float32 may round it either way.
    one_step = float(x.max() - x.min()) / 63 / INPUTS**0.5
    assert np.abs(found - expected).max() <= one_step
    assert np.median(np.abs(found - expected)) < 1e-5


def test_no_two_kinds_give_the_same(session: onnxruntime.InferenceSession) -> None:
    x = torch.randn(7, 3, INPUTS, generator=torch.Generator().manual_seed(1)).numpy()
    answers = {array.tobytes() for array in session.run(None, {"x": x})}
    assert len(answers) == len(NAMES)
