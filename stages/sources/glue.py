"""GLUE data from a mirror folder, the hub's parquet files, or the official download site."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stages.dataset.dataset import Dataset, Fetched, FetchOptions
from stages.dataset.task import Task
from stages.plumbing.command import UserError
from stages.plumbing.files import scratch_folder, sha256
from stages.plumbing.lock import locked
from stages.plumbing.paths import of_user
from stages.sources import Unavailable, archive, cache_folder, first_available, hub_parquet
from stages.sources.glue_tsv import Layout, Parsed, read_folder
from stages.sources.http import answers, download
from stages.sources.hub_parquet import HubFiles, discarded_if_wrong

if TYPE_CHECKING:
    import pandas as pd

HUB_DATASET = "nyu-mll/glue"
SITE = "https://dl.fbaipublicfiles.com/glue/data"
UNPACKED = "unpacked.partial"
SPLITS = {"train": "train", "validation": "validation", "test": "test"}

Check = Callable[[Mapping[str, "pd.DataFrame"], FetchOptions], None]


@dataclass(frozen=True)
class GlueFiles:
    """Where one GLUE task's files are.

    Attributes:
        folder: name below a mirror, as the tutorial's download script leaves it.
        hub: the same on the hub.
        site: file name -> address on the official site: one zip that holds `folder`, or files in
            a layout that `parse` reads.
        parse: reads a folder; raises `Unavailable` if it holds none of the known layouts.
    """

    folder: str
    hub: HubFiles
    site: dict[str, str]
    parse: Callable[[Path], Parsed]


def hub_files(task: Task, splits: dict[str, str] = SPLITS) -> HubFiles:
    """The hub names GLUE's configurations and text columns as our tasks do."""
    columns = {"idx": "id", **{name: name for name in task.text_columns}, "label": "label"}
    return HubFiles(HUB_DATASET, task.name, splits, columns)


def zipped(
    task: Task, folder: str, zip_name: str, layout: Layout, splits: dict[str, str] = SPLITS
) -> GlueFiles:
    """A task whose official download is a zip of the folder that a mirror holds.

    Args:
        splits: our split name -> the hub's.
    """
    site = {zip_name: f"{SITE}/{zip_name}"}
    return GlueFiles(folder, hub_files(task, splits), site, partial(read_folder, task, layout))


def dataset(
    task: Task,
    files: GlueFiles,
    published: dict[str, tuple[int, ...]],
    tolerance: float = 0.0,
) -> Dataset:
    """A task with these sources; see `Dataset` for the rest."""
    made = Dataset(
        task,
        fetch=lambda options: fetch(files, options, made.check),
        reachable=partial(reachable, files),
        published=published,
        tolerance=tolerance,
    )
    return made


def fetch(files: GlueFiles, options: FetchOptions, check: Check) -> Fetched:
    """Try the sources in the order of `options.sources`.

    Args:
        check: raises UserError if splits are not what was published; a download that fails it is
            not kept.

    Raises:
        UserError: a source was reached but its data are wrong, or no source could be reached.
    """
    sources = {
        "mirror": lambda: from_mirror(files, options),
        "hub": lambda: from_hub(files, options, check),
        "site": lambda: from_site(files, options, check),
    }
    return first_available(
        files.folder,
        sources,
        options.sources,
        f"Three ways out: set GLUE_MIRROR to a folder that holds {files.folder}/, run where the "
        "hub or the official site can be reached, or take the embedded task with "
        "'tasks: [movie_reviews]' in params.yaml",
    )


def reachable(files: GlueFiles, options: FetchOptions) -> bool:
    """Whether `fetch` has a chance; asks each source for a sign of life, downloads nothing."""
    site = site_files(files)
    signs = {
        "mirror": lambda: bool(mirror_folder(options)),
        "hub": lambda: hub_parquet.reachable(files.hub),
        "site": lambda: all(path.exists() for path in site) or answers(next(iter(site.values()))),
    }
    return any(signs[name]() for name in options.sources)


def mirror_folder(options: FetchOptions) -> str:
    """Empty if there is none."""
    named = os.environ.get("GLUE_MIRROR") or options.mirror
    return str(of_user(named)) if named else ""


def from_mirror(files: GlueFiles, options: FetchOptions) -> Fetched:
    named = mirror_folder(options)
    if not named:
        raise Unavailable("GLUE_MIRROR is not set")
    folder = Path(named)
    if not folder.is_dir():
        raise UserError(
            f"the mirror folder '{named}' does not exist; set GLUE_MIRROR (or "
            "download_glue.mirror) to a folder that holds the GLUE data, or leave it unset"
        )
    folder = folder / files.folder if (folder / files.folder).is_dir() else folder
    parsed = parse(files, folder, "mirror")
    checksums = {name: sha256(folder / name) for name in parsed.files}
    return Fetched(parsed.splits, "mirror", checksums, left_out=parsed.left_out)


def from_hub(files: GlueFiles, options: FetchOptions, check: Check) -> Fetched:
    with hub_parquet.downloaded(files.hub) as (splits, checksums):
        check(splits, options)
    return Fetched(splits, "hub", checksums)


def site_files(files: GlueFiles) -> dict[Path, str]:
    folder = cache_folder() / "glue" / files.folder
    return {folder / name: url for name, url in files.site.items()}


def from_site(files: GlueFiles, options: FetchOptions, check: Check) -> Fetched:
    wanted = site_files(files)
    for path, url in wanted.items():
        download(url, path)
    first = next(iter(wanted))
    unpacked = first.parent / UNPACKED
    with discarded_if_wrong(wanted), locked(unpacked), scratch_folder(unpacked):
        folder = first.parent
        if first.suffix == ".zip":
            folder = unpacked
            archive.copy_all(first, folder, files.folder, lambda name: name.endswith(".tsv"))
        parsed = parse(files, folder, "site")
        check(parsed.splits, options)
        checksums = {path.name: sha256(path) for path in wanted}
    return Fetched(parsed.splits, "site", checksums, left_out=parsed.left_out)


def parse(files: GlueFiles, folder: Path, source: str) -> Parsed:
    try:
        return files.parse(folder)
    except Unavailable as error:
        raise UserError(f"{source} of {files.folder}: {error}") from None
