"""GLUE data from a mirror folder, the hub's parquet files, or the official download site."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        parse: reads a folder into splits and the names of the files read; raises `Unavailable` if
            it holds none of the known layouts.
        check: raises UserError if the splits are not what was published.
    """

    folder: str
    hub_config: str
    hub_splits: dict[str, str]
    columns: dict[str, str]
    site: dict[str, str]
    parse: Callable[[Path], tuple[dict[str, pd.DataFrame], list[str]]]
    check: Callable[[dict[str, pd.DataFrame], Settings], None]


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
        "hub": lambda: not hub_is_off() and is_there(hub_files(files)),
        "site": lambda: is_there(site_files(files)),
    }
    return any(signs[name]() for name in settings.sources)


def is_there(wanted: dict[Path, str]) -> bool:
    """Everything was downloaded before, or the first address answers."""
    return all(path.exists() for path in wanted) or answers(next(iter(wanted.values())))


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


def site_files(files: GlueFiles) -> dict[Path, str]:
    folder = cache_folder() / "glue" / files.folder
    return {folder / name: url for name, url in files.site.items()}


def from_site(files: GlueFiles, settings: Settings) -> Fetched:
    wanted = site_files(files)
    for path, url in wanted.items():
        download(url, path)
    with discarded_if_wrong(wanted):
        fetched = parsed(files, next(iter(wanted)).parent, "site")
        files.check(fetched.splits, settings)
    return fetched


def parsed(files: GlueFiles, folder: Path, source: str) -> Fetched:
    try:
        splits, read = files.parse(folder)
    except Unavailable as error:
        raise UserError(f"{source} of {files.folder}: {error}") from None
    return Fetched(splits, source, {name: sha256(folder / name) for name in read})


def hub_is_off() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")


def hub_files(files: GlueFiles) -> dict[Path, str]:
    folder = cache_folder() / "glue" / "hub" / files.hub_config
    address = f"{hub()}/datasets/{HUB_DATASET}/resolve/main/{files.hub_config}"
    return {
        folder / f"{split}.parquet": f"{address}/{split}-00000-of-00001.parquet"
        for split in files.hub_splits.values()
    }


def from_hub(files: GlueFiles, settings: Settings) -> Fetched:
    wanted = hub_files(files)
    if hub_is_off() and not all(path.exists() for path in wanted):
        raise Unavailable("HF_HUB_OFFLINE is set")
    for path, url in wanted.items():
        download(url, path, token=os.environ.get("HF_TOKEN", ""))
    with discarded_if_wrong(wanted):
        splits = {
            ours: read_hub_file(files, path)
            for ours, path in zip(files.hub_splits, wanted, strict=True)
        }
        files.check(splits, settings)
    return Fetched(splits, "hub", {path.name: sha256(path) for path in wanted})


def read_hub_file(files: GlueFiles, path: Path) -> pd.DataFrame:
    name = f"the hub's {files.hub_config}/{path.name}"
    try:
        frame = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{name} is not a readable parquet file ({error})") from None
    missing = set(files.columns) - set(frame.columns)
    if missing:
        raise UserError(f"{name} lacks {sorted(missing)}; it has {list(frame.columns)}")
    frame = frame.rename(columns=files.columns)[list(files.columns.values())]
    return frame.astype({"id": str})


@contextmanager
def discarded_if_wrong(wanted: dict[Path, str]) -> Iterator[None]:
    """What was downloaded but is no good must not be taken from the cache the next time.

    Raises:
        UserError: with the remedy added.
    """
    try:
        yield
    except UserError as error:
        for path in wanted:
            path.unlink(missing_ok=True)
        raise UserError(f"{error}. The download was removed, run again to get it anew") from None
