"""Get a task's data, check it against what was published, write its splits as parquet."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from stages.dataset import stored
from stages.dataset.dataset import UNLABELLED, Fetched, Split
from stages.dataset.task import Task
from stages.measure.accuracy import constant_baseline
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_folder, write_json
from stages.plumbing.manifest import write_checksums
from stages.settings.arguments import params_for


def download_glue(task: str) -> None:
    """Write data/<task>/<split>.parquet and task.json, and metrics/<task>/dataset.json."""
    params = params_for(task)
    dataset = params.dataset(task)
    fetched = dataset.fetch(params.download_glue)
    definition = dataset.task.model_copy(
        update={"name": task, "labels": fetched.labels or dataset.task.labels}
    )
    with new_folder(paths.DATA / task) as folder:
        counts = {
            name: write_split(folder / f"{name}.parquet", split)
            for name, split in fetched.splits.items()
        }
        dataset.check_counts(definition, counts, params.download_glue)
        labelled = [name for name in counts if set(counts[name]) != {UNLABELLED}]
        scored = sorted(set(labelled) - {"train"}, key=lambda name: (name != "validation", name))
        definition = definition.model_copy(update={"scored": tuple(scored)})
        write_json(folder / "task.json", definition.model_dump())
        text = rendition(folder / "train.parquet", definition)
        write_checksums(folder)
    write_json(paths.dataset(task), describe(definition, fetched, counts, text))
    rows_of = {name: sum(split.values()) for name, split in counts.items()}
    print(f"{task}: {rows_of} from a {fetched.source} ({text} text)")
    for reason, rows in fetched.left_out.items():
        print(f"{task}: {rows} rows left out: {reason}")


def write_split(target: Path, split: Split) -> Counter:
    """Write a split piece by piece; returns label -> rows."""
    counts: Counter = Counter()
    pieces: Iterable[pd.DataFrame] = [split] if isinstance(split, pd.DataFrame) else split
    writer = None
    try:
        for piece in pieces:
            counts.update(piece["label"].tolist())
            table = pa.Table.from_pandas(piece, preserve_index=False)
            writer = writer or ParquetWriter(target, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    return counts


def describe(task: Task, fetched: Fetched, counts: dict[str, Counter], text: str) -> dict:
    """Scalars only, so that `dvc metrics diff` shows when the data changed."""
    splits: dict[str, object] = {}
    for name, rows_of in counts.items():
        labelled = name in (*task.scored, "train")
        facts: dict[str, object] = {"rows": sum(rows_of.values()), "labelled": int(labelled)}
        if task.regression and labelled:
            facts |= {"lowest": min(rows_of), "highest": max(rows_of)}
        if task.labels:
            facts["classes"] = {label: rows_of.get(i, 0) for i, label in enumerate(task.labels)}
        if labelled:
            labels = np.repeat(list(rows_of), list(rows_of.values()))
            facts |= constant_baseline(task.metrics, labels, task.outputs)
        splits[name] = facts
    return {
        "source": fetched.source,
        "rendition": text,
        "licence": task.licence,
        "splits": splits,
        "left_out": fetched.left_out,
        "sha256": fetched.sha256,
    }


def rendition(train: Path, task: Task) -> str:
    """`tokenized` where punctuation stands apart (`word , word`), else `original`."""
    texts = stored.first_rows(train, 1000, [task.text_columns[0]]).iloc[:, 0]
    apart = texts.str.contains(r" [.,]$| , ", regex=True).mean()
    return "tokenized" if apart > 0.5 else "original"


if __name__ == "__main__":
    run_stage(download_glue)
