"""Building, storing, running and exporting ibert."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from stages.engines.ibert.building import Building
from stages.engines.ibert.calibration import largest_of
from stages.engines.ibert.onnx_form import write_onnx
from stages.engines.ibert.reference import Reference, Saturations
from stages.engines.ibert.tensors import FORMAT
from stages.engines.int8.calibration import choose_rows, padded
from stages.engines.runtime import packed_file
from stages.engines.runtime.library import Runtime
from stages.engines.runtime.packed_file import Sizes
from stages.engines.runtime.shipped.classify import CannotRun, Model
from stages.engines.safe_l import rounding
from stages.engines.safe_l.families import FAMILIES, Family
from stages.model import cpu
from stages.model.artifact import WEIGHTS, read_manifest
from stages.model.classifier import check_finite, load_checkpoint
from stages.model.ingredients import Ingredients, Skipped
from stages.model.storage import tensor_bytes
from stages.model.tokens import Batch, Predict, unpadded
from stages.plumbing.command import UserError

__all__ = ["count_quantized", "export", "load", "load_counting", "quantize", "tensor_bytes"]

# The one instruction set to use, for tests: avx2, vnni, amx, c99, or numpy for the reference.
FORCED = "IBERT_KERNEL"
HERE = Path(__file__).parent
RUNTIME = Runtime(
    "ibert", (*HERE.glob("kernel/*.h"), *HERE.glob("kernel/*.cpp"), *HERE.glob("c99/ibert.*"))
)
SEED = 0
CUT = "numbers_cut"  # by saturating steps, in metrics


def quantize(ingredients: Ingredients, folder: Path, max_weight_error: float, rows: int) -> None:
    """Write the FP32 checkpoint as integers, ranges from `rows` of the training split.

    Raises:
        Skipped: its encoder or its activation is of another kind.
        UserError: NaN or infinity in the weights.
    """
    checkpoint = ingredients.checkpoint
    module: Any = load_checkpoint(checkpoint)
    family, sizes = described(module)
    weights = safe_weights(module, max_weight_error)
    sample = padded(ingredients.task, checkpoint, choose_rows(ingredients.train, rows, SEED))
    largest = largest_of(module, sample, {name: safe.scale for name, safe in weights.items()})
    epsilon = packed_file.epsilon_of(module.config, family)
    building = Building(module, family, sizes, epsilon, weights, largest)
    packed_file.write(FORMAT, building.tensors, sizes, folder / WEIGHTS)
    counted: dict[str, int] = {}
    predict = load_counting(folder, counted)
    for _, batch in sample:
        predict(batch)
    print(f"ibert: {counted[CUT]} numbers cut by a saturating step, on {rows} training rows")


def described(module: Any) -> tuple[Family, Sizes]:
    """Raises Skipped where these integers do not stand for such a model."""
    kind = module.config.model_type
    if kind not in FAMILIES:
        raise Skipped(
            f"ibert knows {', '.join(FAMILIES)}, not {kind}; int8_embeddings runs every model"
        )
    sizes = packed_file.sizes_of(module, FAMILIES[kind], "ibert")
    if sizes.hidden > 4096 or sizes.hidden // sizes.heads > 128:
        raise Skipped("ibert's integers are proved for 4,096 columns and heads of 128 at most")
    if packed_file.HEAD_ACTIVATIONS[sizes.head_activation] == "gelu":
        raise Skipped(f"ibert has no integers for the head of {kind}; int8_fast runs it")
    if sizes.distances:
        raise Skipped(f"ibert has no integers for distances, as {kind} has; int8_fast runs it")
    if sizes.embedding or sizes.shared:
        raise Skipped(f"ibert has no integers for the embeddings of {kind}; int8_fast runs it")
    packed_file.check_nothing_else(module, FAMILIES[kind], sizes, "ibert")
    return FAMILIES[kind], sizes


def safe_weights(module: Any, max_weight_error: float) -> dict[str, rounding.Safe]:
    """Of all Linears but the logits', by name.

    Raises:
        Skipped, UserError: see `quantize`.
    """
    family, sizes = described(module)
    for name, value in module.state_dict().items():
        check_finite(name, value)
    modules = dict(module.named_modules())
    return {
        name: rounding.quantize(name, modules[name].weight.detach(), max_weight_error)
        for parts in packed_file.checkpoint_linears(family, sizes).values()
        for name in parts
    }


def fastest_kernel() -> str:
    """What multiplies on this machine."""
    return cpu.int8_kernel() if cpu.has_avx2() else "c99"


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
        built = None if forced == "numpy" else RUNTIME.library()
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
        cuts = None if counted is None else np.zeros(1, np.int64)
        logits = RUNTIME.logits(model, batch, cuts)
        if counted is not None and cuts is not None:
            counted[CUT] += int(cuts[0])
        return logits

    return predict


def reference_of(artifact: Path, counted: dict[str, int] | None) -> Predict:
    judge = Reference(*packed_file.read(FORMAT, artifact / WEIGHTS))

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
    sizes, _ = packed_file.read(FORMAT, artifact / WEIGHTS)
    return 6 * sizes.layers + 2 + len(packed_file.tables(sizes))


def export(artifact: Path, folder: Path) -> list[str]:
    """Write the weights and their runtime; for interchange, ONNX.

    Raises:
        UserError: nothing compiles here.
    """
    recipe, weights = read_manifest(artifact).recipe, RUNTIME.ship(artifact, folder)
    write_onnx(artifact / WEIGHTS, recipe.inputs, folder / "model.onnx")
    arena = arena_bytes(artifact / WEIGHTS, recipe.max_length)
    print(
        f"ibert.c: {(artifact / WEIGHTS).stat().st_size:,} bytes of weights, and an arena of "
        f"{arena:,} bytes for a text of {recipe.max_length} tokens"
    )
    return [weights, "model.onnx"]


def arena_bytes(weights: Path, tokens: int) -> int:
    """Memory that the C99 twin needs beside the file, for a text of `tokens` tokens."""
    library, file = ctypes.CDLL(str(RUNTIME.library())), np.memmap(weights, np.uint8, "r")
    library.ibert_data.restype = ctypes.c_void_p
    library.ibert_data.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    library.ibert_arena_bytes.restype = ctypes.c_int64
    library.ibert_arena_bytes.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    data = library.ibert_data(file.ctypes.data, file.size)
    return int(library.ibert_arena_bytes(data, tokens))
