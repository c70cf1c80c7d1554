"""GLUE data from a mirror folder, the hub's parquet files, or the official download site."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.plumbing.command import UserError
from stages.plumbing.files import sha256
from stages.sources import Unavailable, cache_folder
from stages.sources.http import answers, download, hub
from stages.tasks import Fetched, Settings

HUB_DATASET = "nyu-mll/glue"


@dataclass(frozen=True)
class GlueFiles:
    """Where one GLUE task's files are.

    Attributes:
        folder: name below a mirror, as the tutorial's download script leaves it.
        hub_config: folder name in the hub's data set.
        hub_splits: our split name -> the hub's.
        columns: the hub's column name -> ours.
        site: file name -> address on the official site, all in the layout that `parse` reads.
        parse: reads a folder; raises `Unavailable` if it holds none of the known layouts.
    """

    folder: str
    hub_config: str
    hub_splits: dict[str, str]
    columns: dict[str, str]
    site: dict[str, str]
    parse: Callable[[Path], dict[str, pd.DataFrame]]


def fetch(files: GlueFiles, settings: Settings) -> Fetched:
    """Try the sources in the order of `settings.sources`.

    Raises:
        UserError: a source was reached but its data are wrong, or no source could be reached.
    """
    sources = {"mirror": from_mirror, "hub": from_hub, "site": from_site}
    reasons = []
    for name in settings.sources:
        try:
            return sources[name](files, settings)
        except Unavailable as error:
            reasons.append(f"{name} ({error})")
    raise UserError(
        f"no source of {files.folder} could be reached: {'; '.join(reasons)}. Three ways out: set "
        f"GLUE_MIRROR to a folder that holds {files.folder}/, run where the hub or the official "
        "site can be reached, or take the embedded task with 'tasks: [movie_reviews]' in "
        "params.yaml"
    )


def reachable(files: GlueFiles, settings: Settings) -> bool:
    """Whether `fetch` has a chance; asks each source for a sign of life, downloads nothing."""
    signs = {
        "mirror": lambda: bool(mirror_folder(settings)),
        "hub": lambda: answers(hub_url(files, next(iter(files.hub_splits.values())))),
        "site": lambda: answers(next(iter(files.site.values()))),
    }
    return any(signs[name]() for name in settings.sources)


def mirror_folder(settings: Settings) -> str:
    return os.environ.get("GLUE_MIRROR") or settings.mirror


def from_mirror(files: GlueFiles, settings: Settings) -> Fetched:
    named = mirror_folder(settings)
    if not named:
        raise Unavailable("GLUE_MIRROR is not set")
    folder = Path(named)
    if not folder.is_dir():
        raise UserError(
            f"the mirror folder '{named}' does not exist; set GLUE_MIRROR (or "
            "download_glue.mirror) to a folder that holds the GLUE data, or leave it unset"
        )
    folder = folder / files.folder if (folder / files.folder).is_dir() else folder
    return parsed(files, folder, "mirror")


def from_site(files: GlueFiles, settings: Settings) -> Fetched:
    folder = cache_folder() / "glue" / files.folder
    for name, url in files.site.items():
        download(url, folder / name)
    return parsed(files, folder, "site")


def parsed(files: GlueFiles, folder: Path, source: str) -> Fetched:
    try:
        splits = files.parse(folder)
    except Unavailable as error:
        raise UserError(f"{source} of {files.folder}: {error}") from None
    read = sorted(path for path in folder.iterdir() if path.suffix in (".tsv", ".txt"))
    return Fetched(splits, source, {path.name: sha256(path) for path in read})


def hub_url(files: GlueFiles, split: str) -> str:
    name = f"{files.hub_config}/{split}-00000-of-00001.parquet"
    return f"{hub()}/datasets/{HUB_DATASET}/resolve/main/{name}"


def from_hub(files: GlueFiles, settings: Settings) -> Fetched:
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        raise Unavailable("HF_HUB_OFFLINE is set")
    splits, checksums = {}, {}
    for ours, theirs in files.hub_splits.items():
        target = cache_folder() / "glue" / "hub" / files.hub_config / f"{theirs}.parquet"
        download(hub_url(files, theirs), target, token=os.environ.get("HF_TOKEN", ""))
        try:
            frame = pd.read_parquet(target)
        except (ValueError, OSError) as error:
            target.unlink()
            raise UserError(
                f"the hub's {files.hub_config}/{theirs} is not a readable parquet file ({error}); "
                "it was removed, run again to download it anew"
            ) from None
        missing = set(files.columns) - set(frame.columns)
        if missing:
            raise UserError(
                f"the hub's {files.hub_config}/{theirs} lacks the columns {sorted(missing)}; "
                f"it has {list(frame.columns)}"
            )
        frame = frame.rename(columns=files.columns)[list(files.columns.values())]
        splits[ours] = frame.astype({"id": str})
        checksums[target.name] = sha256(target)
    return Fetched(splits, "hub", checksums)
