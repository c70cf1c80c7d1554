"""All tasks in one table: the score that each variant keeps, the time and size that it saves."""

import pandas as pd

from stages import variants
from stages.measure.timing import groups
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_file, write_text
from stages.plumbing.json_file import read_json
from stages.reporting.markdown_table import pipe_table
from stages.reporting.row import Row
from stages.settings.params import Params, load_params


def summary() -> None:
    """Write reports/summary.md and summary.csv: fp32 and each variant of each task side by side."""
    params = load_params()
    rows = [row for task in params.tasks for row in rows_of(task, params)]
    environment, timing = read_json(paths.ENVIRONMENT), params.latency
    page = (
        f"### Summary\n\n{pipe_table([cells(row) for row in rows])}\n\n"
        "Scores on validation, means over the seeds; ms are means per call of "
        f"{groups(timing.batch_sizes, timing.threads)[0]}, texts padded to {timing.padding}, in "
        f"{timing.rounds} runs (fresh processes), all variants of a task interleaved. "
        f"{environment['cpu']}, {environment['instruction_set']}, torch {environment['torch']}. "
        "Weights: `pretrained`; `scratch` learned from the task's training texts alone; `random` "
        "were not trained, so their time and size are real and their score means nothing.\n"
    )
    with new_file(paths.REPORTS / "summary.csv") as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)
    write_text(paths.REPORTS / "summary.md", page)
    print(page)


def rows_of(task: str, params: Params) -> list[dict]:
    """One row per variant but fp32, which stands beside each."""
    group = groups(params.latency.batch_sizes, params.latency.threads)[0]
    files = [paths.metric(task, "compare", name) for name in params.quantize]
    # Those that were skipped have no file.
    compared = {
        file.stem: Row.read(file)
        for file in files
        if file.exists() or file.stem == variants.REFERENCE
    }
    fp32 = compared[variants.REFERENCE]
    runs = [f"round_{number + 1}_mean_ms" for number in range(params.latency.rounds)]

    def times(name: str) -> list[float]:
        latency = read_json(paths.metric(task, "latency", name))[group]
        return [latency[run] for run in runs]

    return [
        {
            "task": task,
            "weights": row.cost.weights,
            "max_length": row.cost.max_length,
            "n": row.splits["validation"].n,
            "metric": row.headline,
            "before": fp32.over_seeds["validation"].mean,
            "variant": name,
            "after": row.over_seeds["validation"].mean,
            "verdict": row.verdict,
            "before_ms": fp32.cost.mean_ms,
            "after_ms": row.cost.mean_ms,
            "speedup": row.cost.speedup_mean,
            "before_runs_ms": " ".join(f"{ms:.1f}" for ms in times(variants.REFERENCE)),
            "after_runs_ms": " ".join(f"{ms:.1f}" for ms in times(name)),
            "before_mb": fp32.cost.size_mb,
            "after_mb": row.cost.size_mb,
            "needs": variants.get(name).needs,
        }
        for name, row in compared.items()
        if name != variants.REFERENCE
    ]


def cells(row: dict) -> dict[str, str]:
    trained = row["weights"] != "random"
    return {
        "task": row["task"],
        "weights": row["weights"],
        "max length": str(row["max_length"]),
        "metric": row["metric"],
        variants.REFERENCE: f"{row['before']:.4f}" if trained else "-",
        "variant": row["variant"],
        "score": f"{row['after']:.4f}" if trained else "-",
        "verdict": row["verdict"] if trained else "-",
        f"{variants.REFERENCE} ms (each run)": f"{row['before_ms']:.1f} ({row['before_runs_ms']})",
        "ms (each run)": f"{row['after_ms']:.1f} ({row['after_runs_ms']})",
        "speed-up mean": f"{row['speedup']:.2f}x",
        f"{variants.REFERENCE} MB": f"{row['before_mb']:.1f}",
        "MB": f"{row['after_mb']:.1f}",
        "needs there": row["needs"],
    }


if __name__ == "__main__":
    run_stage(summary)
