"""Building, storing, running and exporting ibert."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from stages.engines.int8.calibration import choose_rows, padded
from stages.engines.safe_l import rounding
from stages.engines.safe_l.families import FAMILIES, Family
from stages.model.artifact import WEIGHTS, read_manifest
from stages.model.classifier import check_finite, load_checkpoint
from stages.model.ingredients import Ingredients, Skipped
from stages.model.storage import tensor_bytes
from stages.model.tokens import Batch, Predict, unpadded
from stages.plumbing.command import UserError
from stages.plumbing.files import read_json
from stages.variants.ibert import layout
from stages.variants.ibert.building import Building
from stages.variants.ibert.calibration import largest_of
from stages.variants.ibert.compiling import SOURCES, library
from stages.variants.ibert.onnx_form import write_onnx
from stages.variants.ibert.reference import Reference, Saturations
from stages.variants.ibert.runtime import classify
from stages.variants.ibert.runtime.classify import LIBRARY, CannotRun, Model

__all__ = ["count_quantized", "export", "load", "load_counting", "quantize", "tensor_bytes"]

# The one instruction set to use, for tests: avx2, vnni, amx, c99, or numpy for the reference.
FORCED = "IBERT_KERNEL"
DISTILBERT_EPS = 1e-12
GELUS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast")  # 0.0005 apart at most
SEED = 0
CUT = "numbers_cut"  # by saturating steps, in metrics


def quantize(ingredients: Ingredients, folder: Path, max_weight_error: float, rows: int) -> None:
    """Write the FP32 checkpoint as integers, ranges from `rows` of the training split.

    Raises:
        Skipped: its encoder or its activation is of another kind.
        UserError: NaN or infinity in the weights.
    """
    checkpoint = ingredients.checkpoint
    kind = read_json(checkpoint / "config.json")["model_type"]
    if kind not in FAMILIES:
        raise Skipped(
            f"ibert knows {', '.join(FAMILIES)}, not {kind}; int8_embeddings runs every model"
        )
    module: Any = load_checkpoint(checkpoint)
    family = FAMILIES[kind]
    sizes = sizes_of(module.config, family)
    for name, value in module.state_dict().items():
        check_finite(name, value)
    modules = dict(module.named_modules())
    weights = {
        name: rounding.quantize(name, modules[name].weight.detach(), max_weight_error)
        for name in linears_of(family, sizes.layers)
    }
    sample = padded(ingredients.task, checkpoint, choose_rows(ingredients.train, rows, SEED))
    largest = largest_of(module, sample, {name: safe.scale for name, safe in weights.items()})
    epsilon = getattr(module.config, family.eps) if family.eps else DISTILBERT_EPS
    building = Building(module, family, sizes, epsilon, weights, largest)
    layout.write(building.tensors, sizes, folder / WEIGHTS)
    counted: dict[str, int] = {}
    predict = load_counting(folder, counted)
    for _, batch in sample:
        predict(batch)
    print(f"ibert: {counted[CUT]} numbers cut by a saturating step, on {rows} training rows")


def linears_of(family: Family, layers: int) -> list[str]:
    """Names of all Linears but the logits'."""
    names = [
        name
        for i in range(layers)
        for part, name in family.of_layer(i).items()
        if part not in layout.NORMS
    ]
    return names + [name for name, _ in family.head[:-1]]


def sizes_of(config: Any, family: Family) -> layout.Sizes:
    """Raises Skipped for an activation that no integer operator stands for."""
    act = getattr(config, family.ffn_act)
    if act not in (*GELUS, "relu"):
        raise Skipped(f"ibert has GELU and ReLU in integers, not {act}; int8_fast runs it")
    heads = getattr(config, family.heads)
    if config.hidden_size > 4096 or config.hidden_size // heads > 128:
        raise Skipped("ibert's integers are proved for 4,096 columns and heads of 128 at most")
    return layout.Sizes(
        hidden=config.hidden_size,
        layers=getattr(config, family.layers),
        heads=heads,
        ffn=getattr(config, family.ffn),
        words=config.vocab_size,
        positions=config.max_position_embeddings,
        types=getattr(config, "type_vocab_size", 0),
        first_position=config.pad_token_id + 1 if family.padded_positions else 0,
        outputs=config.num_labels,
        activation=int(act == "relu"),
        head_activation=layout.HEAD_ACTIVATIONS.index(family.head[0][1]),
    )


def load(artifact: Path) -> Predict:
    """With as many threads as torch has when it is called."""
    return predictor(artifact, None)


def load_counting(artifact: Path, counted: dict[str, int]) -> Predict:
    """`load`, which counts the numbers that saturating steps cut, and is slower."""
    counted[CUT] = 0
    return predictor(artifact, counted)


def predictor(artifact: Path, counted: dict[str, int] | None) -> Predict:
    """Raises UserError where the file is damaged, or IBERT_KERNEL cannot run here."""
    forced = os.environ.get(FORCED, "")
    try:
        built = None if forced == "numpy" else library()
    except CannotRun as reason:
        if forced:
            raise UserError(f"{FORCED}={forced} cannot run here: {reason}") from None
        print(f"ibert: {reason}; NumPy computes the same, but slowly", file=sys.stderr)
        built = None
    if built is None:
        return reference_of(artifact, counted)
    try:
        model = Model(built, artifact / WEIGHTS, forced)
    except CannotRun as reason:
        raise UserError(f"ibert: {reason}") from None

    def predict(batch: Batch) -> np.ndarray:
        import torch

        starts, flat = unpadded(batch, "ibert")
        ids, types = flat["input_ids"], flat.get("token_type_ids")
        cuts = None if counted is None else np.zeros(1, np.int64)
        logits = model.logits(ids, starts, types, torch.get_num_threads(), cuts)
        if counted is not None and cuts is not None:
            counted[CUT] += int(cuts[0])
        return logits

    return predict


def reference_of(artifact: Path, counted: dict[str, int] | None) -> Predict:
    judge = Reference(*layout.read(artifact / WEIGHTS))

    def predict(batch: Batch) -> np.ndarray:
        starts, flat = unpadded(batch, "ibert")
        kinds = flat.get("token_type_ids")
        texts = np.split(flat["input_ids"], starts[1:-1])
        types = None if kinds is None else np.split(kinds, starts[1:-1])
        seen = Saturations()
        whole = judge(texts, types, seen)
        if counted is not None:
            counted[CUT] += sum(seen.values())
        return np.ldexp(whole.astype(np.float64), -judge.exponent).astype(np.float32)

    return predict


def count_quantized(artifact: Path) -> int:
    """Linears and tables of embeddings, all of them; query, key and value are three."""
    sizes, _ = layout.read(artifact / WEIGHTS)
    return 6 * sizes.layers + 2 + len(layout.tables(sizes))


def export(artifact: Path, folder: Path) -> list[str]:
    """Write the weights, the library, its sources and what calls it; for interchange, ONNX.

    Raises:
        UserError: nothing compiles here.
    """
    shutil.copyfile(artifact / WEIGHTS, folder / WEIGHTS)
    try:
        built = library()
    except CannotRun as reason:
        raise UserError(
            f"ibert ships with its runtime, and {reason}; install a C++ compiler"
        ) from None
    shutil.copyfile(built, folder / LIBRARY)
    runtime = Path(classify.__file__)
    for source in (*SOURCES, runtime, runtime.with_name("serve.py")):
        shutil.copyfile(source, folder / source.name)
    write_onnx(artifact / WEIGHTS, read_manifest(artifact).recipe.inputs, folder / "model.onnx")
    return [WEIGHTS, "model.onnx"]
