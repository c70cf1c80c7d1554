"""The parsers of outside bytes, each as one function of bytes, through the project's own reader."""

import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stages import tasks
from stages.dataset.task import read_task
from stages.model.artifact import read_manifest, verify
from stages.model.storage import tensor_bytes
from stages.plumbing.command import UserError
from stages.plumbing.files import sha256
from stages.plumbing.manifest import write_checksums
from stages.reporting.row import Row
from stages.running.shipped import predict, serve
from stages.settings.params import DownloadGlue, load_params
from stages.sources import Unavailable, archive, hub_parquet
from stages.sources.own_file.columns import Columns, find
from stages.sources.own_file.csv_file import CsvFile
from stages.sources.own_file.delimited import Dialect
from stages.sources.own_file.table import Table

SEEDS = Path(__file__).with_name("seeds")
GLUE = {"sst2": "SST-2", "stsb": "STS-B", "cola": "CoLA"}  # with a header, scores, without one


@cache
def folder() -> Path:
    """Of this process, in memory where that can be."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))


@dataclass(frozen=True)
class Target:
    """Attributes:
    read: gives the bytes to the parser.
    prepare: what takes long once, and is no part of reading.
    allowed: what it may raise.
    form: how its input is mutated, see mutation.py.
    """

    read: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...] = (UserError,)
    form: str = "bytes"
    prepare: Callable[[], object] = folder

    def seeds(self, name: str) -> list[Path]:
        return sorted(path for path in (SEEDS / name).iterdir() if path.is_file())


def file(name: str, data: bytes) -> Path:
    target = folder() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def parameters(data: bytes) -> object:
    return load_params(file("params.yaml", data))


def options(mirror: Path) -> DownloadGlue:
    return DownloadGlue(sources=["mirror"], mirror=str(mirror), counts="any")


def tsv(data: bytes) -> None:
    """As the splits of three tasks; refused where each of them refuses it."""
    os.environ.pop("GLUE_MIRROR", None)
    refused = []
    for task, named in GLUE.items():
        for name in ("train.tsv", "dev.tsv"):
            file(f"glue/{named}/{name}", data)
        try:
            tasks.dataset(task, {}).fetch(options(folder() / "glue"))
        except (UserError, Unavailable) as error:
            refused.append(error)
    if len(refused) == len(GLUE):
        raise refused[0]


def own_file(path: Path, metric: str) -> None:
    settings = CsvFile(train=str(path), text="text", label="label", metric=metric)
    fetched = settings.dataset("mine").fetch(options(folder()))
    for split in fetched.splits.values():
        for _ in split:
            pass


def csv(data: bytes) -> None:
    """As a file of classes, one of scores, and one of which nobody said what is in it."""
    path = file("mine.csv", data)
    table = Table(str(path), "train", Dialect("utf-8", "", '"', "csv.mine"))
    each = [
        lambda: own_file(path, "weighted_f1"),
        lambda: own_file(path, "pearson"),
        lambda: columns_of(table),
    ]
    all_of(each)


def columns_of(table: Table) -> None:
    """As `make check` finds them."""
    table.check()
    find(table, Columns("", "", ""), regression=False)


def parquet(data: bytes) -> None:
    """As a file of the user's, and as one of the hub's."""
    path = file("mine.parquet", data)
    files = hub_parquet.HubFiles("one/data", "one", {}, {"text": "text", "label": "label"})
    all_of([lambda: own_file(path, "weighted_f1"), lambda: hub_parquet.read(files, path)])


def all_of(each: Sequence[Callable[[], object]]) -> None:
    """Every one of them, also where another raises UserError."""
    for read in each:
        try:
            read()
        except UserError:
            continue


def zipped(data: bytes) -> None:
    (folder() / "unpacked").mkdir(exist_ok=True)
    archive.copy_all(file("SST-2.zip", data), folder() / "unpacked", "SST-2")


def task(data: bytes) -> object:
    """With a checksum that fits: what a person wrote there, not a bit that flipped."""
    write_checksums(file("project/data/mine/task.json", data).parent)
    return in_project(lambda: read_task("mine"))


def row(data: bytes) -> object:
    return Row.read(file("project/metrics/mine/compare/fp32.json", data))


def in_project(read: Callable[[], object]) -> object:
    here = Path.cwd()
    os.chdir(folder() / "project")
    try:
        return read()
    finally:
        os.chdir(here)


def manifest(data: bytes) -> None:
    file("artifact/config.json", b"{}")
    artifact = file("artifact/manifest.json", data).parent
    read_manifest(artifact)
    verify(artifact)


def export_manifest(data: bytes) -> None:
    """Of an export that is whole but for it; a seed leaves it to us to fill in checksums."""
    shipped = export_folder()
    for path in shipped.iterdir():
        data = data.replace(f"SHA256 OF {path.name}".encode(), sha256(path).encode())
    file("export/manifest.json", data)
    predict.Classifier(shipped)([("ba co", "di")])


@cache
def export_folder() -> Path:
    from stages.engines.runtime.shipped import classify
    from stages.variants.int8_fast.kernel.dispatch import RUNTIME

    shipped = folder() / "export"
    shipped.mkdir()
    for source, name in (
        (Path(classify.__file__), predict.RUNTIME),
        (RUNTIME.library(), classify.LIBRARY),
        (SEEDS / "packed/int8_fast", classify.WEIGHTS),
        (model_folder() / predict.TOKENIZER, predict.TOKENIZER),
    ):
        shutil.copyfile(source, shipped / name)
    return shipped


def header(data: bytes) -> None:
    tensor_bytes(file("weights/model.safetensors", data).parent)


def configuration(data: bytes) -> None:
    """Of a model folder that names it, as a checkpoint and as what training starts from."""
    from stages.dataset.task import Task
    from stages.training.label_order import classes_of
    from stages.training.model_names import resolve
    from stages.training.pretrained import load

    model = model_folder()
    file("model/config.json", data)
    definition = Task(
        name="mine",
        text_columns=("text",),
        labels=("no", "yes"),
        metrics=("accuracy",),
        licence="",
        description="",
    )
    found = resolve(str(model))
    for fine_tuned in (False, True):
        try:
            if fine_tuned:
                classes_of(str(model))
            load(found, definition, 1, fine_tuned=fine_tuned)
        except UserError:
            continue


@cache
def model_folder() -> Path:
    from tests.conftest import write_tiny_bert

    return write_tiny_bert(folder() / "model")


def packed(data: bytes) -> None:
    """Weights of int8_fast, mapped and run by its library of C++."""
    import numpy as np

    from stages.engines.runtime.shipped.classify import Model
    from stages.variants.int8_fast.kernel.dispatch import RUNTIME

    model = Model(RUNTIME.library(), file("packed/model.safetensors", data))
    model.logits(np.array([2, 9, 3]), np.array([0, 3]), np.array([0, 0, 0]))


def request(data: bytes) -> object:
    return serve.texts_of(data)


def cannot_run() -> tuple[type[Exception], ...]:
    from stages.engines.runtime.shipped.classify import CannotRun

    return (UserError, CannotRun, ValueError)


TARGETS: dict[str, Target] = {
    "parameters": Target(parameters, form="yaml"),
    "tsv": Target(tsv, (UserError, Unavailable)),
    "csv": Target(csv),
    "parquet": Target(parquet),
    "zip": Target(zipped),
    "task": Target(task, form="json"),
    "row": Target(row, form="json"),
    "manifest": Target(manifest, form="json"),
    "export_manifest": Target(
        export_manifest, (predict.CannotLoad, ValueError), "json", lambda: export_folder()
    ),
    "configuration": Target(configuration, form="json", prepare=lambda: model_folder()),
    "header": Target(header, form="safetensors"),
    "packed": Target(packed, cannot_run(), "safetensors", lambda: export_folder()),
    "request": Target(request, (serve.Refused,), form="json"),
}


def header_of(data: bytes) -> tuple[bytes, bytes]:
    """A safetensors file's header and what follows it."""
    (length,) = struct.unpack("<Q", data[:8].ljust(8, b"\0"))
    return data[8 : 8 + length], data[8 + length :]
