"""The README.md of an export: what it is, how good, how fast, how to use it."""

import json
import runpy
from pathlib import Path
from typing import Any

from stages.dataset.task import Task
from stages.model.artifact import WARNINGS, Manifest, Recipe
from stages.plumbing import paths
from stages.plumbing.json_file import read_json
from stages.reporting.comparison_page import renumbered
from stages.reporting.escaping import MARKDOWN, in_code, in_markdown, in_yaml
from stages.reporting.row import Row
from stages.running.exported_folder import Predicting
from stages.running.shipped.predict import LOADER, RUNTIME
from stages.settings.params import load_params

EXAMPLES = ("A text of yours.", "And its second part.")


def model_card(
    task: Task,
    manifest: Manifest,
    metrics: dict[str, Any],
    folder: Path,
    predicting: Predicting | None,
) -> str:
    """Markdown with a YAML head, as model hubs read it; `folder` holds what ships."""
    recipe, headline, params = manifest.recipe, task.metrics[0], load_params()
    confidence = f"{100 * params.compare.confidence:g} %"
    timed = f"Batch {params.latency.batch_sizes[0]}, threads {params.latency.threads[0]}"
    environment, data = read_json(paths.ENVIRONMENT), read_json(paths.dataset(task.name))
    row = Row.read(paths.metric(task.name, "compare", manifest.variant))
    classes = [f"{i} = {in_markdown(text)}" for i, text in enumerate(task.labels)]
    meaning = ", ".join(classes) or "one logit, the score itself"
    origin = f"Fine-tuned from {in_code(recipe.model)} ({recipe.weights} weights)"
    if not recipe.trained:
        origin = (
            f"The model {in_code(recipe.model)} ({recipe.weights} weights), not trained further"
        )
    lines = [
        "---",
        f"base_model: {in_yaml(recipe.model)}",
        "pipeline_tag: text-classification",
        f"tags: [quantization, {manifest.variant}]",
        "---",
        f"# {task.name}, {manifest.variant}",
        "",
        in_markdown(task.description),
        "",
        f"{origin}, stored and run as "
        f"`{manifest.variant}` with {row.cost.quantized_ops} quantized operators. "
        f"Answers: {meaning}.",
        "",
    ]
    if recipe.classes_were:
        lines += [renumbered(task, recipe.classes_were, MARKDOWN), ""]
    if recipe.weights in WARNINGS:
        lines += [f"**{WARNINGS[recipe.weights]}**", ""]
    lines += [
        "## Accuracy",
        "",
        f"| split | n | {headline} ({confidence} interval) | drop against fp32 |",
    ]
    lines.append("|---|---|---|---|")
    for split, one in row.splits.items():
        drop = one.drops[headline]
        lines.append(
            f"| {split} | {one.n} | {one.scores[headline]:.4f} ({one.low:.4f} to {one.high:.4f}) "
            f"| {drop.points:+.2f} points ({drop.low:+.2f} to {drop.high:+.2f}) |"
        )
    lines += [
        "",
        f"Always giving the same answer scores {row.majority:.4f} on "
        f"validation. Verdict against fp32: {row.verdict}. Chosen: {metrics['reason']}.",
        "",
        "## Latency and size",
        "",
        f"{timed}: p50 {row.cost.p50_ms:.2f} ms, p90 {row.cost.p90_ms:.2f} ms, "
        f"{row.cost.speedup_p90:.2f} times as fast as fp32 in the same run, without tokenization, "
        f"measured on the variant before export. Weights: {row.cost.size_mb:.1f} MB, "
        f"{row.cost.size_ratio:.2f} times smaller than fp32.",
        "",
        "Environment: "
        + ", ".join(f"{key} {in_markdown(str(value))}" for key, value in environment.items())
        + ".",
        "",
        "## Files",
        "",
    ]
    for facts in metrics["files"].values():
        lines.append(
            f"- `{facts['file']}`: {facts['size_mb']:.1f} MB; {headline} {facts[headline]:.4f} on "
            f"validation, {facts['agreement_pct']:.2f} % of the variant's answers, largest logit "
            f"difference {facts['max_difference']:.2g}"
        )
        if facts["file"].endswith(".pt") and (folder / LOADER).exists():
            lines[-1] += (
                '; `from predict import check`, `check(".")` and `import load_kernel` first, which '
                "compiles its operators"
            )
    some = next(iter(metrics["files"].values()))
    lines.append(
        f"- For comparison: of {some['alone_rows']} rows the variant itself gives "
        f"{some['variant_self_agreement_pct']:.2f} % the same answer in a padded batch and alone"
    )
    train_rows = f"{data['splits']['train']['rows']:,}"
    rows = f"{train_rows} training rows" if recipe.trained else f"{train_rows} rows for calibration"
    lines += [
        "- `manifest.json`: sha256 of every file, labels, inputs, library versions",
        "",
        *how_to_use(task, recipe, predicting),
        *how_to_build(folder),
        "## Data and licence",
        "",
        f"{task.name}: {rows}, from a {data['source']}. "
        f"Licence of the data: {in_markdown(data['licence'])}. "
        "The licence of the base model applies to the weights.",
        "",
    ]
    return "\n".join(lines)


def how_to_build(folder: Path) -> list[str]:
    """Of a runtime that ships, what to do where its library does not fit the machine."""
    if not (folder / RUNTIME).exists():
        return []
    classify = runpy.run_path(str(folder / RUNTIME))
    return [
        "From C: five functions, `classify.h`. Where the library does not fit the machine, its "
        "sources, which lie beside it, make it anew:",
        "",
        "```bash",
        classify["COMPILE"],
        f"python predict.py --trust {classify['LIBRARY']}",
        "```",
        "",
    ]


def how_to_use(task: Task, recipe: Recipe, predicting: Predicting | None) -> list[str]:
    """Commands and Python that run the export as they stand."""
    if predicting is None:
        return [
            "## How to use",
            "",
            "This model's tokenizer needs transformers, so `predict.py` classifies no texts; it "
            "compares all files with `manifest.json` before they are loaded:",
            "",
            "```python",
            "from predict import check",
            "from transformers import AutoTokenizer",
            "",
            'folder = check(".")',
            "tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)",
            "```",
            "",
            f"With `truncation=True` and `max_length={recipe.max_length}` it gives the arrays that "
            f"a model file takes, in this order: {', '.join(recipe.inputs)}.",
            "",
        ]
    parts = EXAMPLES[: len(task.text_columns)]
    quoted = [json.dumps(part) for part in parts]
    text = quoted[0] if len(parts) == 1 else f"({', '.join(quoted)})"
    request = json.dumps({"texts": [parts[0] if len(parts) == 1 else parts]})
    file = "of a file, one text a line" if len(parts) == 1 else "of a file, a tab in each pair"
    answer, said = ("label, probability",) * 2 if task.labels else ("_, score", "score")
    return [
        "## How to use",
        "",
        "```bash",
        "pip install -r requirements.txt",
        f"python predict.py {' '.join(quoted)}",
        "```",
        "",
        f"`python predict.py < texts.txt` gives the answers {file}. In Python:",
        "",
        "```python",
        "from predict import Classifier",
        "",
        'classifier = Classifier(".", threads=1)',
        f"{answer} = classifier([{text}])[0]",
        f"print({said})",
        "```",
        "",
        f"Either runs `{predicting.model}`, after what it loads was compared with `manifest.json`. "
        "As a service, for this machine alone unless a host is named "
        "(`python serve.py 8000 1 0.0.0.0`):",
        "",
        "```bash",
        "python serve.py 8000",
        "```",
        "",
        "```bash",
        "curl -s localhost:8000/health",
        f"curl -s localhost:8000/classify -d '{request}'",
        "```",
        "",
    ]
