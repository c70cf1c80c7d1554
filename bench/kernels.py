"""The multiplication alone: one linear layer, 16 shapes, one thread, all interleaved.

Every contender takes float32 activations and gives float32 results, so quantizing the activations,
the bias and scaling back are in the time.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable

import numpy as np

from bench.isa import NotHidden, hide_from

SHAPES = [
    (m, n, k)
    for n, k in ((768, 768), (2304, 768), (3072, 768), (768, 3072))
    for m in (64, 128, 256, 1024)
]
OURS = "ours_16"
PRODUCTS = (16, 8)
Linear = Callable[[], object]


def contenders(m: int, n: int, k: int, with_ort: bool, reduce_range: bool) -> dict[str, Linear]:
    """Ready to call; `ours_*` only where this checkout has that kernel."""
    import torch

    from stages.engines.torch_dynamic.layers import quantize_linears, use_engine

    torch.manual_seed(0)
    x = torch.randn(m, k)
    plain = torch.nn.Linear(k, n).eval()
    ready: dict[str, Linear] = {"fp32": lambda: plain(x)}
    for engine in ("fbgemm", "onednn"):
        if engine in torch.backends.quantized.supported_engines:
            use_engine(engine)
            quantized = quantize_linears(torch.nn.Sequential(plain), "per_channel")
            ready[engine] = lambda quantized=quantized: quantized(x)  # type: ignore[misc]
    if with_ort:
        ready["ort"] = ort_linear(plain.weight.detach().numpy(), x.numpy(), reduce_range)
    for products in PRODUCTS if ours_exists() else ():
        ready[f"ours_{products}"] = our_linear(plain, x, products)
    return ready


def ours_exists() -> bool:
    try:
        return importlib.util.find_spec("stages.variants.int8_fast.linear") is not None
    except ModuleNotFoundError:
        return False


def our_linear(plain, x, products: int) -> Linear:  # type: ignore[no-untyped-def]
    """Weights so small that no sum of products can overflow, in whatever order they are packed.

    2 * products weights of at most LANE_LIMIT / (2 * products) each; the speed does not depend
    on them.
    """
    import torch

    from stages.engines.safe_l import rounding

    linear = importlib.import_module("stages.variants.int8_fast.linear")
    dispatch = importlib.import_module("stages.variants.int8_fast.kernel.dispatch")
    importlib.import_module("stages.variants.int8_fast.kernel.operators").load()
    levels = rounding.LANE_LIMIT // (2 * products)
    weight = plain.weight.detach()
    scale = weight.abs().amax(dim=1) / levels
    q = torch.round(weight / scale[:, None]).clamp(-levels, levels).to(torch.int8)
    packed = linear.Packed.of(q, scale, plain.bias.detach(), products)
    ours = linear.FastLinear(packed, dispatch.choose_kernel())
    return lambda: ours(x)


def ort_linear(weight: np.ndarray, x: np.ndarray, reduce_range: bool) -> Linear:
    """One linear layer, written and quantized as in the peer `onnxruntime_int8`."""
    from onnx import TensorProto

    from bench.onnx_bert.linear import BITS_7, BITS_8, Linears
    from bench.onnx_bert.session import session
    from bench.onnx_bert.writer import Writer

    (n, k), bias, writer = weight.shape, np.zeros(weight.shape[0], dtype=np.float32), Writer()
    linears = Linears(writer, "dynamic", BITS_7 if reduce_range else BITS_8)
    linears.write("x", "y", weight.T, bias)
    running = session(writer.model({"x": ("m", k)}, {"y": ("m", n)}, TensorProto.FLOAT), 1)
    return lambda: running.run(None, {"x": x})


def measure(reduce_range: bool, turns: int, shapes: list[tuple[int, int, int]]) -> dict:
    """`samples`: shape, contender, ms; `left_out`: contender -> why; `hidden_by`."""
    left_out, hidden_by, samples = {}, {}, []
    try:
        hidden_by["ort"] = hide_from("onnxruntime")
    except NotHidden as error:
        left_out["ort"] = str(error)
    import torch

    torch.set_num_threads(1)
    for m, n, k in shapes:
        with torch.inference_mode():
            running = contenders(m, n, k, "ort" not in left_out, reduce_range)
            for call in running.values():
                call()
                call()
            for _ in range(turns):
                for name, call in running.items():
                    call()  # after another one's turn: not timed
                    start = time.perf_counter()
                    call()
                    ms = 1000 * (time.perf_counter() - start)
                    samples.append({"m": m, "n": n, "k": k, "contender": name, "ms": ms})
        print(f"kernels: {n}x{k}, {m} rows done", file=sys.stderr, flush=True)
    if not ours_exists():
        left_out["ours"] = "stages/variants/int8_fast/linear.py is not in this checkout"
    return {"samples": samples, "left_out": left_out, "hidden_by": hidden_by}


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr
    chosen = [(8, 64, 64)] if sys.argv[3] == "tiny" else SHAPES
    measured = measure(sys.argv[1] == "reduce_range", int(sys.argv[2]), chosen)
    print(json.dumps(measured), file=answers)
