"""ONNX Runtime's dynamic quantization: export, proof that the export is right, quantize.

Activations become uint8, one scale per batch, found at run time. Weights of Linear layers become
int8 (symmetric) or uint8 (affine). Embeddings, if quantized, are uint8 with one scale per table:
ONNX Runtime has no other form for them, whatever is chosen for the Linears. Attention's products of
two activations, LayerNorm, softmax and GELU stay in FP32.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from stages.dataset import stored
from stages.engines.onnx.engine import MODEL, SUFFIXES
from stages.engines.onnx.session import session, session_predictor
from stages.model.artifact import read_recipe
from stages.model.classifier import check_finite, load_checkpoint, predictor, write_onnx
from stages.model.cpu import int8_overflows
from stages.model.ingredients import Ingredients
from stages.model.tokens import Batch, Predict, encode, load_tokenizer, pad
from stages.plumbing.command import UserError

TOLERANCE = 1e-3  # of a logit; exports that are right differ by less than 1e-5
TRANSPOSED = rf"_Transposed({'|'.join(SUFFIXES)})?$"
PROBE_ROWS, PROBE_BATCH, PROBE_ALONE = 32, 8, 4

Weights = Literal["int8", "uint8"]


@dataclass(frozen=True)
class Scheme:
    """How the weights are stored.

    Attributes:
        per_channel: one scale for each output of a Linear, instead of one for all.
        reduce_range: 7 bits instead of 8.
        embeddings: quantize these tables too.
    """

    weights: Weights
    per_channel: bool
    reduce_range: bool
    embeddings: bool

    def described(self) -> dict[str, str]:
        """For the file's own metadata: what `auto` came to is nowhere else."""
        bits, scales = 7 if self.reduce_range else 8, "channel" if self.per_channel else "tensor"
        return {
            "linear_weights": f"{self.weights}, {bits} bits, one scale per {scales}",
            "embeddings": "uint8, one scale per table" if self.embeddings else "float32",
            "reduce_range": str(self.reduce_range).lower(),
        }


def build(
    ingredients: Ingredients,
    folder: Path,
    weights: Weights,
    *,
    per_channel: bool,
    reduce_range: bool | Literal["auto"],
    embeddings: bool,
) -> None:
    """Write `model.onnx`, after its FP32 form gave PyTorch's logits.

    Raises:
        UserError: it did not, or the checkpoint holds NaN or infinity.
    """
    exported = folder / "fp32.onnx"
    export_checked(ingredients, exported)
    if reduce_range == "auto":
        # Unsigned weights ONNX Runtime widens to int16 first, which is slower and exact.
        reduce_range = weights == "int8" and int8_overflows()
    quantize(exported, folder / MODEL, Scheme(weights, per_channel, reduce_range, embeddings))
    exported.unlink()


def export_checked(ingredients: Ingredients, target: Path) -> None:
    """Write the FP32 model as ONNX, with PyTorch's names, and compare it with PyTorch."""
    module = load_checkpoint(ingredients.checkpoint)
    for name, parameter in module.named_parameters():
        check_finite(name, parameter)
    write_onnx(module, read_recipe(ingredients.checkpoint).inputs, target)
    model = onnx.load(target)
    use_parameter_names(model, module)
    onnx.save(model, target)
    check_same_logits(predictor(module), session_predictor(session(target)), probes(ingredients))


def use_parameter_names(model: ModelProto, module: nn.Module) -> None:
    """Rename initializers in place to the parameters that they hold, so that sizes have a part.

    The exporter puts `module.` before some and calls the ones it transposed `val_12`.
    """
    names = {one.name: one.name.removeprefix("module.") for one in model.graph.initializer}
    missing: dict[tuple[tuple[int, ...], bytes], str] = {}
    for name, parameter in module.named_parameters():
        if name not in names.values():
            for form in (parameter.detach().t(), parameter.detach()):
                missing[tuple(form.shape), form.contiguous().numpy().tobytes()] = name
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and names[tensor.name] == tensor.name:
            key = (tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
            names[tensor.name] = missing.pop(key, tensor.name)
    rename(model, names)


def rename(model: ModelProto, names: dict[str, str]) -> None:
    """Give initializers other names in place: old -> new."""
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    del model.graph.value_info[:]  # partly about the old names; everyone infers it anew


def probes(ingredients: Ingredients) -> Iterator[Batch]:
    """Training rows in padded batches, and a few of them alone."""
    recipe, tokenizer = read_recipe(ingredients.checkpoint), load_tokenizer(ingredients.checkpoint)
    rows = stored.first_rows(ingredients.train, PROBE_ROWS)
    tokens = encode(tokenizer, ingredients.task, rows, recipe)
    # Not sorted by length, unlike elsewhere: here padding is wanted.
    parts = [tokens[start : start + PROBE_BATCH] for start in range(0, len(tokens), PROBE_BATCH)]
    for part in [*parts, *([row] for row in tokens[:PROBE_ALONE])]:
        yield pad(tokenizer, part, "longest", recipe.max_length)


def check_same_logits(reference: Predict, exported: Predict, batches: Iterator[Batch]) -> None:
    """Raises UserError if the two differ by more than TOLERANCE anywhere."""
    worst = np.max([np.abs(reference(batch) - exported(batch)).max() for batch in batches])
    if not worst <= TOLERANCE:  # NaN is no match either
        raise UserError(
            f"the FP32 ONNX export differs from PyTorch by {worst:g} in a logit (allowed: "
            f"{TOLERANCE:g}), so its quantized form would mean nothing; use a variant that runs in "
            "PyTorch (int8_per_token), or another version of torch or onnxruntime"
        )


def quantize(exported: Path, target: Path, scheme: Scheme) -> None:
    """Quantize an FP32 graph; the same input gives the same bytes on every machine."""
    logging.disable(logging.WARNING)  # advice on graphs without shapes, which this one has
    try:
        quantize_dynamic(
            exported,
            target,
            # A Gemm (pooler, classifier) becomes MatMul and Add first.
            op_types_to_quantize=["MatMul", "Gather"] if scheme.embeddings else ["MatMul"],
            per_channel=scheme.per_channel,
            reduce_range=scheme.reduce_range,
            weight_type=QuantType.QInt8 if scheme.weights == "int8" else QuantType.QUInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
    model = onnx.load(target)
    stored = {tensor.name for tensor in model.graph.initializer}
    # What onnxruntime from 1.32 on calls the weight of a Gemm that it made a MatMul.
    plain = {name: re.sub(TRANSPOSED, r"\1", name) for name in stored}
    rename(model, {name: new for name, new in plain.items() if new not in stored})
    without_machine_text(model)
    onnx.helper.set_model_props(model, scheme.described())
    onnx.save(model, target)


def without_machine_text(model: ModelProto) -> None:
    """Drop stack traces and other notes of the exporting machine, in place."""
    graph = model.graph
    del graph.value_info[:]
    for item in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
