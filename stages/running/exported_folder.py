"""What an export holds beside its model files: tokenizer, predict.py, serve.py, manifest.json.

The tokenizer says itself where a text is cut and how a batch is padded, so that it needs no more
than the library `tokenizers`.
"""

import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from stages.dataset.task import Task
from stages.engines.runtime.shipped.classify import LIBRARY
from stages.model.artifact import Manifest
from stages.model.tokens import Tokens, pad
from stages.plumbing.files import write_json, write_text
from stages.plumbing.manifest import MANIFEST, checksums
from stages.running.shipped import predict, serve

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PREDICT, SERVE, REQUIREMENTS = "predict.py", "serve.py", "requirements.txt"
# What predict.py needs for each kind of model file; of several files it takes the first kind. The
# runtime and TorchScript are the variant itself, which was scored and timed; ONNX is near it.
NEEDS: dict[str, tuple[str, ...]] = {
    ".safetensors": (),
    ".pt": ("torch",),
    ".onnx": ("onnxruntime",),
}
ALWAYS = ("numpy", "tokenizers")
CHECKED_AT_ONCE = 256  # rows


class Predicting(BaseModel):
    """What predict.py uses.

    Attributes:
        model: the file that it runs.
        loads: all files that it reads or runs, after it compared them with their checksums.
    """

    model: str
    loads: list[str]


class ExportManifest(BaseModel):
    """`manifest.json` of an export.

    Attributes:
        columns: what the task calls a text, or the two of a pair.
        inputs: arrays that the files take, in this order.
        max_length: tokens that a text is cut to.
        predict: None where predict.py was left out.
        sha256: file name -> checksum, of every other file.
    """

    task: str
    variant: str
    labels: list[str]
    columns: list[str]
    inputs: list[str]
    max_length: int
    parameters: dict[str, Any]
    versions: dict[str, str]
    predict: Predicting | None
    sha256: dict[str, str]


def write_tokenizer(tokenizer: "PreTrainedTokenizerBase", max_length: int, folder: Path) -> None:
    """Write tokenizer.json with the cutting and padding of training; nothing for one in Python."""
    if not tokenizer.is_fast:
        (folder / predict.TOKENIZER).unlink(missing_ok=True)
        return
    from tokenizers import Tokenizer

    own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    own.enable_truncation(max_length, direction=tokenizer.truncation_side)
    own.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=tokenizer.pad_token,
    )
    write_text(folder / predict.TOKENIZER, own.to_str(pretty=True))


def why_not(
    tokenizer: "PreTrainedTokenizerBase",
    inputs: list[str],
    texts: list[predict.Text],
    tokens: Sequence[Tokens],
    folder: Path,
) -> str:
    """Why predict.py cannot read texts as the model was trained to; "" where it can.

    Args:
        texts: rows of the task.
        tokens: what they are in training.
    """
    if not (folder / predict.TOKENIZER).exists():
        return f"{type(tokenizer).__name__} is written in Python and has no {predict.TOKENIZER}"
    if unknown := set(inputs) - set(predict.FIELDS):
        return f"the model also reads {', '.join(sorted(unknown))}"
    own = predict.read_tokenizer(folder)
    for start in range(0, len(texts), CHECKED_AT_ONCE):
        rows = slice(start, start + CHECKED_AT_ONCE)
        found = predict.arrays(own, inputs, texts[rows])
        expected = pad(tokenizer, tokens[rows], "longest", 0)
        if any(found[name].tolist() != expected[name].tolist() for name in inputs):
            return f"{predict.TOKENIZER} alone gives other token ids than transformers does"
    return ""


def write_check(folder: Path) -> None:
    """Write predict.py, whose `check` compares an export that it cannot read texts for, too."""
    shutil.copyfile(str(predict.__file__), folder / PREDICT)


def write_predict(files: list[str], folder: Path) -> Predicting:
    """Write predict.py, serve.py and requirements.txt for the first of NEEDS among `files`."""
    kinds = {Path(file).suffix: file for file in files}
    kind = next(kind for kind in NEEDS if kind in kinds)
    beside = [path.name for path in sorted(folder.iterdir()) if is_loaded(path, kinds[kind])]
    write_check(folder)
    shutil.copyfile(str(serve.__file__), folder / SERVE)
    # Without what stands behind a plus (2.13.0+cpu): an index has no such version.
    pins = [f"{name}=={version(name).partition('+')[0]}" for name in (*ALWAYS, *NEEDS[kind])]
    write_text(folder / REQUIREMENTS, "\n".join(pins) + "\n")
    return Predicting(model=kinds[kind], loads=[predict.TOKENIZER, kinds[kind], *beside])


def is_loaded(path: Path, model: str) -> bool:
    """Whether it is read, run or compiled with the model file `model` of its folder."""
    if model.endswith(".safetensors"):
        return path.name in (predict.RUNTIME, LIBRARY)
    if model.endswith(".pt") and path.with_name(predict.LOADER).exists():
        return path.suffix in predict.CODE
    return path.name.startswith(model) and path.name != model  # what is too large for an ONNX file


def write_export_manifest(
    folder: Path, task: Task, manifest: Manifest, predicting: Predicting | None
) -> None:
    """Describe what lies in `folder`: the variant that `manifest` is of, and all other files."""
    contents = ExportManifest(
        task=task.name,
        variant=manifest.variant,
        labels=list(task.labels),
        columns=list(task.text_columns),
        inputs=manifest.recipe.inputs,
        max_length=manifest.recipe.max_length,
        parameters=manifest.parameters,
        versions={name: version(name) for name in ("torch", "transformers", "onnxruntime")},
        predict=predicting,
        sha256=checksums(folder),
    )
    write_json(folder / MANIFEST, contents.model_dump())
