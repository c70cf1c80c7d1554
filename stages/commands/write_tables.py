"""`make tables`: the tables of figures in README.md and docs/, from the committed results.

A table stands between two comments, and nobody edits it by hand:

    <!-- table: comparison docs/evidence/full/metrics/mrpc -->
    <!-- end -->

The first names one of TABLES and what it is made from. `--check` writes nothing.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages import variants
from stages.dataset.task import base_of
from stages.measure.statistics import mean_interval
from stages.plumbing import paths
from stages.plumbing.command import UserError, nearest, one_line
from stages.plumbing.files import write_text
from stages.plumbing.json_file import read_json
from stages.plumbing.yaml_file import read_yaml
from stages.reporting.comparison_page import cost_cells, drop_cell, summary_cells
from stages.reporting.markdown_table import pipe_table
from stages.reporting.row import Row

# bert-base-cased on GLUE's validation sets, by transformers' examples/pytorch/text-classification.
PUBLISHED_BERT_BASE = {
    "cola": "56.53",
    "sst2": "92.32",
    "mrpc": "88.85/84.07",
    "stsb": "88.64/88.48",
    "qqp": "87.49/90.71",
    "mnli": "83.91",
    "qnli": "90.66",
    "rte": "65.70",
    "wnli": "56.34",
}
Rows = dict[str, Row]  # by variant
END = "<!-- end -->"

MARKED = re.compile(r"^(<!-- table: (\S+) (\S+) -->\n)(.*?)^<!-- end -->$", re.M | re.S)
# What others published figures of -> the variant of ours that does the same.
LIKE_PUBLISHED = {
    "`quantize_dynamic`, asymmetric": "int8_dynamic",
    "the same, symmetric": "int8_dynamic_symmetric",
    "quantization-aware training": "int8_qat",
    "through ONNX Runtime": "int8_onnx",
    "our kernel": "int8_fast",
}


def write_tables(check: bool) -> None:
    """Renew every table; with `check` only say whether one is not up to date.

    Raises:
        UserError: a marker has no end, no table or no source; with `check`, a table differs.
    """
    for page in [Path("README.md"), *sorted(Path("docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        renewed = text
        for opening, name, source, standing in marked(page, text):
            table = made(page, name, Path(source))
            if check and table != standing:
                raise UserError(f"{page}: table '{name}' differs from {source}; run 'make tables'")
            renewed = renewed.replace(f"{opening}{standing}{END}", f"{opening}{table}{END}")
        if renewed != text:
            write_text(page, renewed)
            print(f"{page}: renewed")


def marked(page: Path, text: str) -> list[tuple[str, ...]]:
    """The opening marker, name, source and present text of each table."""
    tables: list[tuple[str, ...]] = MARKED.findall(text)
    if len(tables) != len(re.findall(r"^<!-- table: ", text, re.M)):
        raise UserError(f"{page}: not every '<!-- table: NAME SOURCE -->' has its '{END}'; add it")
    return tables


def made(page: Path, name: str, source: Path) -> str:
    """A table from what is committed, as it stands between its markers."""
    if name not in TABLES:
        raise UserError(f"{page}: unknown table '{name}'; {nearest(name, list(TABLES))}")
    if not source.exists():
        raise UserError(f"{page}: table '{name}' is made from {source}, which does not exist")
    return f"\n{TABLES[name](source).strip()}\n\n"


def rows_of(metrics: Path) -> Rows:
    """The reference, then the others, the slowest first; one that was skipped has no row."""
    rows = {file.stem: Row.read(file) for file in (metrics / "compare").glob("*.json")}
    order = sorted(rows, key=lambda name: (name != variants.REFERENCE, -rows[name].cost.p90_ms))
    return {name: rows[name] for name in order}


def settings_of(metrics: Path) -> Any:
    """The params.yaml that stands beside metrics/."""
    return read_yaml(metrics.parent.with_name("params.yaml"))


def score_of(row: Row) -> str:
    return f"{row.over_seeds['validation'].mean:.4f}"


def facts(metrics: Path, rows: Rows) -> str:
    """What the figures belong to, in one line."""
    row = rows[variants.REFERENCE]
    texts = [f"{one.n:,} texts of {split}" for split, one in row.splits.items()]
    runs = f"means of {row.seeds} seeds" if row.seeds > 1 else f"one seed, {row.seed}"
    machine = read_json(metrics.parent / paths.ENVIRONMENT.name)
    busy = " CONTENDED: other processes ran; do not quote latency." if row.cost.contended else ""
    return (
        f"{metrics.name}: {' and '.join(texts)}; {runs}. {machine['cpu']}, "
        f"{machine['instruction_set']}, {machine['cores']} cores, torch {machine['torch']}.{busy}"
    )


def quick(metrics: Path) -> str:
    """README's: few columns; what ships is bold."""
    rows, shipped = rows_of(metrics), read_json(metrics / "export.json")["variant"]
    cells = [
        {
            "variant": f"**{name}**" if name == shipped else name,
            row.headline.upper(): score_of(row),
            "drop in points": drop_cell(row.over_seeds["validation"].drop),
            "verdict": row.verdict,
            "p90 ms": f"{row.cost.p90_ms:.1f}",
            "speed-up p90": f"{row.cost.speedup_p90:.1f}x",
            "MB": f"{row.cost.size_mb:.1f}",
            "needs there": variants.get(name).needs,
        }
        for name, row in rows.items()
    ]
    return f"{pipe_table(cells)}\n\n{facts(metrics, rows)}"


def comparison(metrics: Path) -> str:
    rows, shipped = rows_of(metrics), read_json(metrics / "export.json")
    table = pipe_table([summary_cells(name, row) for name, row in rows.items()])
    reason = f"Ships {shipped['variant']}: {shipped['reason']}."
    return f"{table}\n\n{facts(metrics, rows)}\n\n{reason}"


def cost(metrics: Path) -> str:
    return pipe_table([cost_cells(name, row) for name, row in rows_of(metrics).items()])


def seeds(metrics: Path, split: str) -> str:
    """Each seed's drop; their mean with an interval over the texts, and one over the seeds."""
    folders = sorted((metrics / "accuracy").glob("seed_*"))
    confidence = settings_of(metrics)["compare"]["confidence"]
    cells = []
    for name, row in rows_of(metrics).items():
        drops = {}
        for folder in folders:
            fp32, ours = (
                read_json(folder / f"{each}.json")[split] for each in (variants.REFERENCE, name)
            )
            seed = folder.name.replace("_", " ")
            drops[seed] = 100 * (fp32[row.headline] - ours[row.headline])
        several = row.over_seeds[split]
        cell = {"variant": name} | {seed: f"{points:+.2f}" for seed, points in drops.items()}
        cell["mean (interval over texts)"] = drop_cell(several.drop)
        if len(drops) > 1:
            spread = mean_interval(list(drops.values()), confidence)
            cell["interval over seeds (t)"] = f"{spread.low:+.2f} to {spread.high:+.2f}"
        cells.append(cell | {"median": f"{several.drop_median_points:+.2f}"})
    return pipe_table(cells)


def like_published(metrics: Path) -> str:
    """The variants that do what others published figures of."""
    rows = rows_of(metrics)
    fp32 = rows[variants.REFERENCE]
    cells = [
        {
            "what": f"{what} (`{name}`)",
            f"{fp32.headline} in fp32": score_of(fp32),
            f"{fp32.headline} in int8": score_of(rows[name]),
        }
        | {f"drop on {split}": drop_cell(one.drop) for split, one in rows[name].over_seeds.items()}
        | {
            "MB": f"{fp32.cost.size_mb:.1f} to {rows[name].cost.size_mb:.1f}",
            "faster at p50": f"{rows[name].cost.speedup_p50:.2f}x",
        }
        for what, name in LIKE_PUBLISHED.items()
        if name in rows
    ]
    return f"{pipe_table(cells)}\n\n{facts(metrics, rows)}"


def race(results: Path) -> str:
    from bench.report import markdown  # bench/ knows its own tables

    return markdown(read_json(results))


def race_headline(folder: Path) -> str:
    """Of the race on AVX2, and of that on the CPU as it is where it lies beside."""
    from bench.report import headline

    found = [folder / "results.json", folder / "native" / "results.json"]
    return headline([read_json(file) for file in found if file.exists()])


def reruns(file: Path) -> str:
    from bench.reruns import markdown

    return markdown(read_json(file.parent / "results.json"), read_json(file, list))


def integers(results: Path) -> str:
    from bench.integers import markdown

    return markdown(read_json(results))


def scoring(results: Path) -> str:
    from bench.scoring import markdown

    return markdown(read_json(results))


def bits(results: Path) -> str:
    from bench.bits import markdown

    return markdown(read_json(results))


def other_tools(results: Path) -> str:
    from bench.other_tools.table import markdown

    return markdown(read_json(results))


def threads(results: Path) -> str:
    """How many times as fast two threads are as one."""
    from bench.ours import TAKEN_AWAY

    rows: dict[str, dict[str, str]] = {}
    for one in read_json(results)["runners"]:
        if one["runner"] in TAKEN_AWAY:
            continue
        seconds = one["seconds"]
        row = rows.setdefault(one["runner"], {"runner": one["runner"]})
        row[one["model"]] = f"{seconds['1'] / seconds['2']:.2f}x" if "2" in seconds else "-"
    return pipe_table(list(rows.values()))


def families(outcomes: Path) -> str:
    """Which variants work with which kinds of models, and below it why the others do not."""
    found: dict[str, dict[str, str]] = read_json(outcomes)
    names = list(dict.fromkeys(name for by_variant in found.values() for name in by_variant))
    cells = [
        {"family": family}
        | {name: "yes" if by_variant.get(name) == "works" else "-" for name in names}
        for family, by_variant in found.items()
    ]
    reasons: dict[tuple[str, str], list[str]] = {}
    for family, by_variant in found.items():
        for name, what in by_variant.items():
            if what != "works":
                reasons.setdefault((family, what.replace(name, "it")), []).append(name)
    lines = [f"- {family}, {', '.join(who)}: {what}" for (family, what), who in reasons.items()]
    return "\n\n".join([pipe_table(cells), "\n".join(lines)])


def glue(metrics: Path) -> str:
    """All tasks of a run: fp32 and each variant, times 100, beside published figures."""
    cells = []
    for folder in sorted(metrics.glob("*/compare")):
        task, rows = folder.parent.name, rows_of(folder.parent)
        reference = rows[variants.REFERENCE]
        cell = {
            "task": task,
            "model": read_json(next((folder.parent / "finetune").iterdir()))["model"],
            "metrics": "/".join(reference.metrics),
            "texts": f"{reference.splits['validation'].n:,}",
            "BERT-base, published": PUBLISHED_BERT_BASE.get(base_of(task), "-"),
        }
        for name, row in rows.items():
            scores = row.splits["validation"].scores
            cell[name] = "/".join(f"{100 * scores[metric]:.2f}" for metric in row.metrics)
        cells.append(cell)
    return pipe_table(cells)


def coverage(results: Path) -> str:
    """How often an interval holds the population's value: the least over all simulated flips."""
    cases = read_json(results)["cases"]
    cells = []
    for metric in dict.fromkeys(case["metric"] for case in cases):
        for what in ("drop", "score"):
            row = {"interval of": f"{what} in {metric}" if what == "drop" else metric}
            for texts in dict.fromkeys(case["texts"] for case in cases):
                covered = [
                    case[f"{what}_covered_pct"]
                    for case in cases
                    if (case["metric"], case["texts"]) == (metric, texts)
                ]
                row[f"{texts:,} texts"] = f"{min(covered):.1f} %" if covered else "-"
            cells.append(row)
    return pipe_table(cells)


# What `make faults` looks for, as its results call it -> as a column says it.
WRONGS = {
    "lost": "lost",
    "half-written": "half-written",
    "silent": "silently another",
    "hang": "hangs",
    "unruly": "without its line",
    "left lying": "left lying",
}


def faults(results: Path) -> str:
    """Each kind of fault: how often it was tried, on how many jobs, and what came of it."""
    found = read_json(results)
    cells = []
    for fault in dict.fromkeys(row["fault"] for row in found["counts"]):
        rows = [row for row in found["counts"] if row["fault"] == fault]
        cells.append(
            {"fault": fault, "tried": f"{sum(row['tried'] for row in rows):,}"}
            | {"stages and arguments": str(len(rows))}
            | {name: str(sum(row[kind] for row in rows)) for kind, name in WRONGS.items()}
        )
    return f"{pipe_table(cells)}\n\nSeed {found['seed']}, {found['minutes']:.0f} minutes."


def fuzzers(results: Path) -> str:
    """Each parser: inputs tried, and kinds of them that break the rule."""
    found = read_json(results)
    cells = [
        {
            "parser": one["target"],
            "seeds": str(one["seeds"]),
            "inputs": f"{one['inputs']:,}",
            "break the rule": str(one["wrong"]),
        }
        for one in found["targets"]
    ]
    return f"{pipe_table(cells)}\n\n{found['seconds']:g} seconds each."


TABLES: dict[str, Callable[[Path], str]] = {
    "quick": quick,
    "comparison": comparison,
    "cost": cost,
    "seeds_on_validation": lambda metrics: seeds(metrics, "validation"),
    "seeds_on_test": lambda metrics: seeds(metrics, "test"),
    "like_published": like_published,
    "families": families,
    "faults": faults,
    "fuzzers": fuzzers,
    "coverage": coverage,
    "glue": glue,
    "race": race,
    "race_headline": race_headline,
    "reruns": reruns,
    "threads": threads,
    "integers": integers,
    "bits": bits,
    "scoring": scoring,
    "other_tools": other_tools,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m stages.commands.write_tables", description=write_tables.__doc__
    )
    parser.add_argument("--check", action="store_true", help="only say whether one differs")
    with one_line("commands.write_tables"):
        write_tables(**vars(parser.parse_args()))
