"""A torch classifier: loading it, calling it with numpy batches, writing it out as one file."""

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.model.from_folder import from_folder
from stages.model.tokens import Batch, Predict
from stages.plumbing.command import UserError, in_short
from stages.plumbing.disk import need_room
from stages.plumbing.faults import of_the_machine

# Records that torch's writer adds to every archive by itself.
OWN_RECORDS = ("version", ".data/serialization_id", "byteorder", ".format_version")


def load_checkpoint(folder: Path) -> nn.Module:
    """The fine-tuned FP32 model in `folder`, ready for inference."""
    from transformers import AutoModelForSequenceClassification

    module: nn.Module = from_folder(AutoModelForSequenceClassification, folder, dtype=torch.float32)
    return module.eval()


def without_weights(folder: Path) -> nn.Module:
    """The architecture that `folder`'s config.json describes; its weights mean nothing yet."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = from_folder(AutoConfig, folder)
    return AutoModelForSequenceClassification.from_config(config, trust_remote_code=False).eval()


def check_finite(name: str, tensor: Tensor) -> None:
    """Raises UserError for NaN or infinity, which no integer can stand for."""
    if not torch.isfinite(tensor).all():
        kind = "NaN" if torch.isnan(tensor).any() else "infinity"
        raise UserError(
            f"{name} holds {kind} and cannot be quantized; the training went wrong: lower "
            "finetune.<task>.learning_rate, or check the checkpoint"
        )


def predictor(module: nn.Module) -> Predict:
    """Wrap a transformers classifier: numpy in, numpy logits out."""

    @torch.inference_mode()
    def predict(batch: Batch) -> np.ndarray:
        inputs = {name: torch.from_numpy(array) for name, array in batch.items()}
        logits: np.ndarray = module(**inputs).logits.numpy()
        return logits

    return predict


class LogitsOnly(nn.Module):
    """Positional tensors in, logits out: the signature that TorchScript and ONNX need."""

    def __init__(self, module: nn.Module, inputs: list[str]) -> None:
        super().__init__()
        self.module, self.inputs = module, inputs
        # XLNet takes its mask from 1.0; from integers the ONNX exporter cannot convert that.
        self.float_mask = getattr(module.config, "model_type", "") == "xlnet"

    def forward(self, *tensors: Tensor) -> Tensor:
        named = dict(zip(self.inputs, tensors, strict=True))
        if self.float_mask:
            named["attention_mask"] = named["attention_mask"].float()
        logits: Tensor = self.module(**named, return_dict=False)[0]
        return logits


def example(inputs: list[str]) -> tuple[Tensor, ...]:
    """Two rows, the second padded, so that the attention mask is part of the traced graph."""
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    values = {"input_ids": mask * 5, "attention_mask": mask}
    return tuple(values.get(name, torch.zeros_like(mask)) for name in inputs)


def written(forms: dict[str, Callable[[Path], None]], folder: Path) -> list[str]:
    """The names of the files that could be written; of each other one a line says why.

    The tracers of torch do not know every architecture.

    Args:
        forms: name of a file -> what writes it.

    Raises:
        UserError: none could be written.
    """
    done, reasons = [], []
    for name, write in forms.items():
        try:
            write(folder / name)
        except Exception as error:
            if isinstance(error, UserError) or of_the_machine(error):
                raise
            (folder / name).unlink(missing_ok=True)
            reasons.append(f"{name} is left out ({in_short(error)})")
            print(reasons[-1])
        else:
            done.append(name)
    if not done:
        raise UserError(
            f"this kind of model cannot be exported: {'; '.join(reasons)}; set export.variant to "
            "another variant, or serve it with transformers"
        )
    return done


def write_torchscript(module: nn.Module, inputs: list[str], target: Path) -> None:
    """Trace `module`; the result takes any batch size and length. torch.jit.load reads it."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing is deprecated, and warns at each shape check
        traced: Any = torch.jit.trace(LogitsOnly(module, inputs).eval(), example(inputs))
    write_traced(traced, target)


def write_traced(traced: Any, target: Path) -> None:
    """What torch.jit.load reads, without the source lines of the machine that traced.

    Through Python, and where there is room: torch's own writer ends the process on a full disk.
    """
    target.write_bytes(traced.save_to_buffer())
    need_room(target.parent, target.stat().st_size)
    without_debug_records(target)


def without_debug_records(file: Path) -> None:
    reader = torch._C.PyTorchFileReader(str(file))
    shorter = file.with_name(f"{file.name}.shorter")
    writer = torch._C.PyTorchFileWriter(str(shorter))
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and name not in OWN_RECORDS:
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    del reader
    os.replace(shorter, file)


def write_onnx(module: nn.Module, inputs: list[str], target: Path) -> None:
    """Export `module` as ONNX with a dynamic batch size and length."""
    import onnx

    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=512)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            LogitsOnly(module, inputs).eval(),
            example(inputs),
            str(target),
            input_names=inputs,
            output_names=["logits"],
            dynamic_shapes=(tuple({0: batch, 1: length} for _ in inputs),),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    graph = onnx.load(target)
    for node in graph.graph.node:
        del node.metadata_props[:]  # stack traces with the exporting machine's paths
    onnx.save(graph, target)
