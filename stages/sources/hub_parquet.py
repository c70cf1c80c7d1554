"""A data set's parquet files on the Hugging Face hub."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.plumbing.command import UserError, in_short
from stages.plumbing.faults import of_the_machine
from stages.plumbing.files import sha256
from stages.sources import Unavailable, cache_folder
from stages.sources.address import hub
from stages.sources.cached import forget, is_cached
from stages.sources.http import HttpError, answers, download

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 2 << 30  # of one file
MOST_UNPACKED = 8 << 30


@dataclass(frozen=True)
class HubFiles:
    """One configuration of a data set, one file per split.

    Attributes:
        dataset: its id on the hub.
        config: folder name in it.
        splits: our split name -> the hub's.
        columns: the hub's column name -> ours; without an `id` among ours, rows are numbered.
    """

    dataset: str
    config: str
    splits: dict[str, str]
    columns: dict[str, str]

    def addresses(self) -> dict[Path, str]:
        """File in the cache -> address, in the order of `splits`."""
        folder = cache_folder() / "hub" / self.dataset / self.config
        address = f"{hub()}/datasets/{self.dataset}/resolve/main/{self.config}"
        return {
            folder / f"{split}.parquet": f"{address}/{split}-00000-of-00001.parquet"
            for split in self.splits.values()
        }


@contextmanager
def downloaded(files: HubFiles) -> "Iterator[tuple[dict[str, pd.DataFrame], dict[str, str]]]":
    """Yield the splits and the checksum of each file.

    A UserError inside of the block says that they are no good; the cache then forgets them.

    Raises:
        Unavailable: the hub cannot be reached, is switched off, or does not give the files.
        UserError: the files cannot be read.
    """
    addresses = files.addresses()
    if is_off() and not all(is_cached(path) for path in addresses):
        raise Unavailable("HF_HUB_OFFLINE is set")
    for path, url in addresses.items():
        download_from_hub(files.dataset, url, path)
    with discarded_if_wrong(addresses):
        splits = {
            ours: read(files, path) for ours, path in zip(files.splits, addresses, strict=True)
        }
        yield splits, {path.name: sha256(path) for path in addresses}


def reachable(files: HubFiles) -> bool:
    """Whether all was downloaded before or the hub has the first file; downloads nothing."""
    addresses = files.addresses()
    if all(path.exists() for path in addresses):
        return True
    return not is_off() and answers(next(iter(addresses.values())))


def is_off() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")


def download_from_hub(dataset: str, url: str, path: Path) -> None:
    from huggingface_hub import get_token

    try:
        download(url, path, token=get_token() or "", at_most=MOST_BYTES)
    except HttpError as error:
        if error.status in (401, 403):
            raise Unavailable(
                f"'{dataset}' is gated or private (HTTP {error.status}); accept its terms on its "
                "page and set HF_TOKEN to a token that may read it"
            ) from None
        if error.status == 404:
            raise Unavailable(f"there is no {url} (HTTP 404)") from None
        raise


def read(files: HubFiles, path: Path) -> "pd.DataFrame":
    import pandas as pd
    from pandas.api.types import is_float_dtype

    name = f"the hub's {files.config}/{path.name}"
    try:
        unpacked = unpacked_bytes(path)
        if unpacked > MOST_UNPACKED:
            raise UserError(
                f"{name} would unpack to {unpacked / 1e9:.1f} GB; {MOST_UNPACKED / 1e9:.0f} GB are "
                "allowed"
            )
        frame = pd.read_parquet(path)
    except UserError:
        raise
    except Exception as error:  # of a damaged file pandas and Arrow raise whatever it leads to
        if of_the_machine(error):
            raise
        raise UserError(f"{name} is not a readable parquet file ({in_short(error)})") from None
    missing = set(files.columns) - set(frame.columns)
    if missing:
        raise UserError(f"{name} lacks {sorted(missing)}; it has {list(frame.columns)}")
    frame = frame.rename(columns=files.columns)[list(files.columns.values())]
    for column in frame.columns.drop("id", errors="ignore"):
        check_cells(name, frame[column])
    if "id" not in frame:
        frame.insert(0, "id", range(len(frame)))
    if is_float_dtype(frame["label"]):  # float32 there: a 3.8 would be 3.799999952
        frame["label"] = frame["label"].astype(float).round(6)
    return frame.astype({"id": str})


def check_cells(name: str, column: "pd.Series[Any]") -> None:
    """Raises UserError for a text that is none, and for a label that is no number.

    Parquet keeps lists, bytes and nothing at all in any column, and pandas takes them as they are.
    """
    from pandas.api.types import infer_dtype, is_numeric_dtype

    is_label = column.name == "label"
    fits = is_numeric_dtype(column) if is_label else infer_dtype(column, skipna=False) == "string"
    if fits and column.notna().all():
        return
    kind, wanted = (Number, "a number") if is_label else (str, "a text")
    for row, cell in enumerate(column, start=1):
        is_missing = cell is None or (isinstance(cell, float) and cell != cell)
        if is_missing or not isinstance(cell, kind):
            held = "nothing" if is_missing else f"{type(cell).__name__} ({str(cell)[:40]})"
            raise UserError(f"{name} row {row}: '{column.name}' holds {held} instead of {wanted}")


def unpacked_bytes(path: Path) -> int:
    """As the file itself says, before anything is unpacked."""
    from pyarrow.parquet import read_metadata

    facts = read_metadata(path)
    return sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))


@contextmanager
def discarded_if_wrong(paths: Iterable[Path]) -> Iterator[None]:
    """What was downloaded but is no good must not be taken from the cache the next time.

    Raises:
        UserError: with the remedy added.
    """
    try:
        yield
    except UserError as error:
        for path in paths:
            forget(path)
        raise UserError(f"{error}. The download was removed, run again to get it anew") from None
