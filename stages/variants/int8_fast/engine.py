"""Building, storing, running and exporting int8_fast."""

from pathlib import Path

import numpy as np

from stages.engines.runtime import packed_file
from stages.engines.runtime.shipped.classify import CannotRun, Model
from stages.engines.safe_l.families import FAMILIES
from stages.model.artifact import WEIGHTS, read_manifest
from stages.model.classifier import check_finite, load_checkpoint
from stages.model.ingredients import Skipped
from stages.model.storage import tensor_bytes
from stages.model.tokens import Batch, Predict
from stages.plumbing.command import UserError
from stages.plumbing.json_file import read_json
from stages.plumbing.memory import keep_freed_memory
from stages.variants.int8_fast import encoder
from stages.variants.int8_fast.kernel.dispatch import RUNTIME, choose_kernel
from stages.variants.int8_fast.linear import LIBRARY
from stages.variants.int8_fast.tensors import FORMAT, tensors_of

__all__ = ["count_quantized", "export", "load", "quantize", "tensor_bytes"]


def quantize(checkpoint: Path, folder: Path, max_weight_error: float) -> None:
    """Write the FP32 model in `checkpoint` with safe-L weights, all but the logits' layer.

    Raises:
        Skipped: its encoder or its activation is of another kind.
        UserError: NaN or infinity in the weights.
    """
    kind = read_json(checkpoint / "config.json")["model_type"]
    if kind not in FAMILIES:
        raise Skipped(
            f"int8_fast knows {', '.join(FAMILIES)}, not {kind}; int8_embeddings runs every model"
        )
    module, family = load_checkpoint(checkpoint), FAMILIES[kind]
    sizes = packed_file.sizes_of(module, family, "int8_fast")
    packed_file.check_nothing_else(module, family, sizes, "int8_fast")
    for name, value in module.state_dict().items():
        check_finite(name, value)
    epsilon = packed_file.epsilon_of(module.config, family)
    tensors = tensors_of(module, family, sizes, epsilon, max_weight_error)
    packed_file.write(FORMAT, tensors, sizes, folder / WEIGHTS)


def load(artifact: Path) -> Predict:
    """With as many threads as torch has when it is called.

    Raises:
        UserError: the file is damaged, or INT8_FAST_KERNEL cannot run here.
    """
    kernel, weights = choose_kernel(), artifact / WEIGHTS
    if kernel == LIBRARY:
        classifier = encoder.read(weights, kernel)
        # From then on: each call takes and frees the same tens of MB, which the system would
        # otherwise clear anew every time.
        keep_freed_memory()
        return classifier
    try:
        model = Model(RUNTIME.library(), weights, kernel)
    except CannotRun as reason:
        raise UserError(f"int8_fast: {reason}; run 'dvc repro' to build it anew") from None

    def predict(batch: Batch) -> np.ndarray:
        return RUNTIME.logits(model, batch)

    return predict


def count_quantized(artifact: Path) -> int:
    """Linears and tables of embeddings, all of them; query, key and value are three."""
    sizes, _ = packed_file.read(FORMAT, artifact / WEIGHTS)
    return len(packed_file.linears(sizes)) + 2 * sizes.stored + len(packed_file.tables(sizes))


def export(artifact: Path, folder: Path) -> list[str]:
    """Write the weights and their runtime, and TorchScript where the parameters ask for it.

    No ONNX: no runtime of it has this kernel, and without it int8_onnx is faster.

    Raises:
        UserError: the kernel cannot run here.
    """
    if choose_kernel() == LIBRARY:
        raise UserError(
            "int8_fast ships with its own kernel, which cannot run here (see above); set "
            "export.variant to int8_onnx or int8_embeddings"
        )
    files, manifest = [RUNTIME.ship(artifact, folder)], read_manifest(artifact)
    if manifest.parameters["torchscript"]:
        from stages.variants.int8_fast.traced import write_torchscript

        inputs = manifest.recipe.inputs
        files.append(write_torchscript(artifact / WEIGHTS, inputs, choose_kernel(), folder))
    return files
