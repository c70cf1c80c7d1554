"""Get a task's data, check it against what was published, write its splits as parquet."""

from stages import tasks
from stages.measure.accuracy import majority_baseline
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_folder, write_json
from stages.plumbing.params import load_params
from stages.tasks import UNLABELLED, Fetched, Task


def download_glue(task: str) -> None:
    """Write data/<task>/<split>.parquet and metrics/<task>/dataset.json."""
    settings = load_params().download_glue
    definition = tasks.get(task)
    fetched = definition.fetch(settings)
    definition.check(fetched.splits)
    with new_folder(paths.DATA / task) as folder:
        for name, rows in fetched.splits.items():
            rows.to_parquet(folder / f"{name}.parquet", index=False)
    write_json(paths.dataset(task), describe(definition, fetched))
    rows_of = {name: len(rows) for name, rows in fetched.splits.items()}
    print(f"{task}: {rows_of} from a {fetched.source} ({rendition(definition, fetched)} text)")


def describe(task: Task, fetched: Fetched) -> dict[str, object]:
    """Scalars only, so that `dvc metrics diff` shows when the data changed."""
    splits: dict[str, object] = {}
    for name, rows in fetched.splits.items():
        labels = rows["label"].to_numpy()
        counts = {text: int((labels == i).sum()) for i, text in enumerate(task.labels)}
        labelled = bool((labels != UNLABELLED).all())
        baseline = majority_baseline(task.metrics, labels, len(task.labels)) if labelled else {}
        splits[name] = {"rows": len(rows), "labelled": int(labelled)} | counts | baseline
    return {
        "source": fetched.source,
        "rendition": rendition(task, fetched),
        "licence": task.licence,
        "splits": splits,
        "sha256": fetched.sha256,
    }


def rendition(task: Task, fetched: Fetched) -> str:
    """`tokenized` where punctuation stands apart (`word , word`), else `original`."""
    texts = fetched.splits["train"][task.text_columns[0]].head(1000)
    apart = texts.str.contains(r" [.,]$| , ", regex=True).mean()
    return "tokenized" if apart > 0.5 else "original"


if __name__ == "__main__":
    run_stage(download_glue)
