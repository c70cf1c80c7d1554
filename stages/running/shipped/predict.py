"""Classify texts with the model of this folder; it needs what requirements.txt names, no more.

    from predict import Classifier
    label, probability = Classifier(".", threads=1)(["a text"])[0]

    python predict.py "a text" "another"     prints label and probability of each
    python predict.py < texts.txt            a text a line

A pair of texts is a tuple; in a file a tab stands between the two, on the command line they follow
each other. Threads may share a Classifier.
"""

import hashlib
import json
import os
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

MANIFEST, TOKENIZER = "manifest.json", "tokenizer.json"
# What runs packed weights; what a TorchScript file needs whose operators torch does not have.
RUNTIME, LOADER = "classify.py", "load_kernel.py"
# What Python, a compiler or a loader takes from a folder unasked.
CODE = (".py", ".so", ".h", ".c", ".cpp")
MOST_THREADS = 1024
BATCH = 32  # texts that run at once, which limits the memory that a long list takes
# Name of a model's input -> what the tokenizer calls it.
FIELDS = {"input_ids": "ids", "token_type_ids": "type_ids", "attention_mask": "attention_mask"}

Text = str | tuple[str, str]
# Input name -> int64 (texts, tokens), padded; float32 logits (texts, outputs).
Run = Callable[[dict[str, np.ndarray]], np.ndarray]


class CannotLoad(Exception):
    """The folder is not whole, or cannot run here; the message says why, in one line."""


def runtime(file: Path, threads: int) -> Run:
    """Weights of the small library beside them."""
    classify = runpy.run_path(str(file.with_name(RUNTIME)))
    try:
        model = classify["Model"](file.with_name(classify["LIBRARY"]), file)
    except classify["CannotRun"] as error:
        raise CannotLoad(str(error)) from None

    def run(batch: dict[str, np.ndarray]) -> np.ndarray:
        mask, types = batch["attention_mask"] != 0, batch.get("token_type_ids")
        starts = np.concatenate([[0], mask.sum(1).cumsum()])
        flat = None if types is None else types[mask]
        logits: np.ndarray = model.logits(batch["input_ids"][mask], starts, flat, threads)
        return logits

    return run


def torchscript(file: Path, threads: int) -> Run:
    import torch

    if (loader := file.with_name(LOADER)).exists():
        sys.path.insert(0, str(loader.parent.resolve()))  # which it imports from
        try:
            runpy.run_path(str(loader))
        except (RuntimeError, OSError) as error:  # nothing compiles here, or it cannot be loaded
            raise CannotLoad(str(error)) from None
        finally:
            del sys.path[0]
    torch.set_num_threads(threads)
    module = torch.jit.load(str(file))

    @torch.inference_mode()
    def run(batch: dict[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = module(*map(torch.from_numpy, batch.values())).numpy()
        return logits

    return run


def onnx(file: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [argument.name for argument in session.get_inputs()]
    # A graph of integers alone cannot divide its logits itself.
    exponent = int(session.get_modelmeta().custom_metadata_map.get("logit_exponent", 0))

    def run(batch: dict[str, np.ndarray]) -> np.ndarray:
        logits = session.run(None, {name: batch[name] for name in names})[0]
        return np.ldexp(logits.astype(np.float64), -exponent).astype(np.float32)

    return run


# How each kind of model file is run.
LOADERS: dict[str, Callable[[Path, int], Run]] = {
    ".safetensors": runtime,
    ".pt": torchscript,
    ".onnx": onnx,
}


class Classifier:
    """Texts in, labels out, from the folder of an export."""

    def __init__(self, folder: str | Path = ".", threads: int = 1) -> None:
        """Check the files that it loads against manifest.json, then load them.

        Args:
            threads: that compute.

        Raises:
            CannotLoad: a file is missing, altered or none of the export, or a library is not
                installed.
            ValueError: no threads, or too many.
        """
        if not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"threads is {threads}; it must be 1 to {MOST_THREADS}")
        manifest = read_manifest(Path(folder))
        if manifest["predict"] is None:
            raise CannotLoad("this model's tokenizer needs transformers; README.md says how to use")
        compare(Path(folder), manifest, manifest["predict"]["loads"])
        for path in Path(folder).iterdir():
            if path.suffix in CODE and path.name not in manifest["sha256"]:
                raise CannotLoad(f"{path} is not of the export, but might be run; take it away")
        self.labels: list[str] = manifest["labels"]
        self.columns: list[str] = manifest["columns"]
        self.inputs: list[str] = manifest["inputs"]
        model = Path(folder) / manifest["predict"]["model"]
        try:
            self.tokenizer = read_tokenizer(Path(folder))
            self.run = LOADERS[model.suffix](model, threads)
        except ImportError as error:
            raise CannotLoad(f"{error}; pip install -r requirements.txt") from None

    def logits(self, texts: Sequence[Text]) -> np.ndarray:
        """Float32 (texts, outputs).

        Raises:
            ValueError: not what this model takes: texts, or pairs of them.
        """
        given = [self.checked(i, text) for i, text in enumerate(texts)]
        # Texts of like length share a batch, so that little of it is padding.
        order = sorted(range(len(given)), key=lambda i: len("".join(given[i])))
        parts = [np.empty((0, len(self.labels) or 1), np.float32)]
        for start in range(0, len(order), BATCH):
            batch = [given[i] for i in order[start : start + BATCH]]
            parts.append(self.run(arrays(self.tokenizer, self.inputs, batch)))
        return np.concatenate(parts)[np.argsort(order)]

    def checked(self, position: int, text: Any) -> Text:
        parts = (text,) if isinstance(text, str) else tuple(text) if is_list(text) else ()
        if len(parts) != len(self.columns) or not all(map(is_text, parts)):
            wanted = "a text" if len(self.columns) == 1 else "a pair of texts"
            raise ValueError(f"number {position} is {repr(text)[:60]}; this model takes {wanted}")
        return parts[0] if len(parts) == 1 else (parts[0], parts[1])

    def answers(self, logits: np.ndarray) -> list[tuple[str, float]]:
        """Label and its probability of each row; of a regression `score` and the score."""
        if not self.labels:
            return [("score", float(score)) for score in logits[:, 0]]
        shares = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float64)
        shares /= shares.sum(1, keepdims=True)
        return [(self.labels[row.argmax()], float(row.max())) for row in shares]

    def __call__(self, texts: Sequence[Text]) -> list[tuple[str, float]]:
        """`answers` of texts, in their order. Raises ValueError, see `logits`."""
        return self.answers(self.logits(texts))


def is_list(text: Any) -> bool:
    return isinstance(text, (tuple, list))


def is_text(part: Any) -> bool:
    """A string that has bytes: half of a surrogate pair has none, and no tokenizer takes it."""
    return isinstance(part, str) and not any("\ud800" <= letter <= "\udfff" for letter in part)


def read_tokenizer(folder: Path) -> Any:
    """The file says itself where texts are cut and how a batch is padded."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / TOKENIZER))


def arrays(tokenizer: Any, inputs: list[str], texts: Sequence[Text]) -> dict[str, np.ndarray]:
    """Of one batch: int64 (texts, tokens) for each of `inputs`, in that order."""
    encoded = tokenizer.encode_batch(list(texts))
    return {
        name: np.array([getattr(one, FIELDS[name]) for one in encoded], np.int64) for name in inputs
    }


def read_manifest(folder: Path) -> Any:
    """Raises CannotLoad."""
    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        fault = fault_of(manifest)
    except FileNotFoundError:
        raise CannotLoad(f"{file} is missing; {folder} holds no export") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CannotLoad(f"{file} is damaged: {error}; copy it anew") from None
    if fault:
        raise CannotLoad(f"{file} is damaged: {fault}; copy it anew")
    return manifest


def fault_of(manifest: Any) -> str:
    """What is wrong with what will be read of it; raises KeyError or TypeError where it lacks."""
    listed, predict = manifest["sha256"], manifest["predict"]
    lists = {name: manifest[name] for name in ("labels", "columns", "inputs")}
    if predict is not None:
        lists |= {"loads": predict["loads"], "model": [predict["model"]]}
    if not isinstance(listed, dict) or not listed or not lists.get("loads", listed):
        return "it lists no files"
    for name, given in lists.items():
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            return f"'{name}' is {repr(given)[:60]}"
    if predict is None:
        return ""
    if len(lists["columns"]) not in (1, 2):
        return f"a text has {len(lists['columns'])} columns"
    if Path(predict["model"]).suffix not in LOADERS:
        return f"nothing runs '{predict['model']}'"
    needed = {"input_ids"} | (
        {"attention_mask"} if predict["model"].endswith(".safetensors") else set()
    )
    if not needed <= set(lists["inputs"]) <= set(FIELDS):
        return f"'inputs' are {', '.join(lists['inputs'])[:60]}"
    return ""


def check(folder: str | Path = ".") -> Path:
    """The folder, once all files in it are those of its manifest, and no other lies beside them.

    Raises:
        CannotLoad: one is missing, altered or not of the export.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    compare(folder, manifest, manifest["sha256"])
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_other = name not in (MANIFEST, *manifest["sha256"]) and "__pycache__" not in path.parts
        if is_other and not (path.is_dir() and not path.is_symlink()):
            raise CannotLoad(f"{path} is not of the export; take it away")
    return folder


def compare(folder: Path, manifest: Any, names: Iterable[str]) -> None:
    """Raises CannotLoad where a file is not the one that was exported."""
    for name in names:
        file, path = folder / name, PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or name not in manifest["sha256"]:
            raise CannotLoad(f"{folder / MANIFEST} is damaged: it lists no '{name}'; copy it anew")
        if not file.is_file():
            raise CannotLoad(f"{file} is missing; copy the whole export")
        if sha256(file) != manifest["sha256"][name]:
            raise CannotLoad(
                f"{file} is not the one that was exported; copy it anew, or, if you built it "
                f"yourself: python predict.py --trust {name}"
            )


def sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def trust(folder: Path, name: str) -> None:
    """Write the checksum of a file as it is now into manifest.json. Raises CannotLoad."""
    manifest = read_manifest(folder)
    loads = (manifest["predict"] or {"loads": manifest["sha256"]})["loads"]
    if name not in loads or not (folder / name).exists():
        raise CannotLoad(f"'{name}' is none of the files that are loaded: {', '.join(loads)}")
    manifest["sha256"][name] = sha256(folder / name)
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, folder / MANIFEST)


def in_pairs(texts: list[str]) -> Iterator[Text]:
    """Raises ValueError where one is left over."""
    if len(texts) % 2:
        raise ValueError(f"this model takes pairs, and {len(texts)} texts are none")
    yield from zip(texts[::2], texts[1::2], strict=True)


def lines_of_stdin(pairs: bool) -> Iterator[Text]:
    """Raises ValueError where a line is no pair, or no UTF-8."""
    with open(sys.stdin.fileno(), encoding="utf-8-sig", closefd=False) as stream:
        for number, line in enumerate(stream, 1):
            parts = line.rstrip("\n").split("\t")
            if pairs and len(parts) != 2:
                raise ValueError(
                    f"line {number} has {len(parts) - 1} tabs; this model takes pairs of texts, "
                    "one tab between them"
                )
            yield (parts[0], parts[1]) if pairs else line.rstrip("\n")


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description="Print label and probability of each text.")
    parser.add_argument("texts", nargs="*", help="of pairs, first and second; none: lines of stdin")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trust", metavar="FILE", help="note the checksum of a file you built")
    given, folder = parser.parse_args(), Path(__file__).parent
    if given.trust:
        return trust(folder, given.trust)
    if not given.texts and sys.stdin.isatty():
        parser.error("give texts, or a file: python predict.py < texts.txt")
    classifier = Classifier(folder, given.threads)
    pairs = len(classifier.columns) == 2
    if given.texts:
        texts = in_pairs(given.texts) if pairs else iter(given.texts)
    else:
        texts = lines_of_stdin(pairs)
    while block := list(islice(texts, 32 * BATCH)):
        for label, number in classifier(block):
            print(f"{label}\t{number:.4f}")
    return None


if __name__ == "__main__":
    try:
        main()
    except (CannotLoad, ValueError) as error:
        print(f"predict: {error}", file=sys.stderr)
        sys.exit(2)
