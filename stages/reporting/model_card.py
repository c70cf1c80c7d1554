"""The README.md of an export: what it is, how good, how fast, how to load it."""

import runpy
from pathlib import Path
from typing import Any

from stages.dataset.task import Task
from stages.model.artifact import WARNINGS, Manifest, Recipe
from stages.plumbing import paths
from stages.plumbing.files import read_json
from stages.reporting.comparison_page import renumbered
from stages.reporting.row import Row
from stages.running.exported_process import LOADER, RUNTIME
from stages.settings.params import load_params

EXAMPLES = ("A text of yours.", "And its second part.")


def model_card(task: Task, manifest: Manifest, metrics: dict[str, Any], folder: Path) -> str:
    """Markdown with a YAML head, as model hubs read it; `folder` holds what ships."""
    recipe, headline, params = manifest.recipe, task.metrics[0], load_params()
    confidence = f"{100 * params.compare.confidence:g} %"
    timed = f"Batch {params.latency.batch_sizes[0]}, threads {params.latency.threads[0]}"
    environment, data = read_json(paths.ENVIRONMENT), read_json(paths.dataset(task.name))
    row = Row.read(paths.metric(task.name, "compare", manifest.variant))
    classes = [f"{i} = {text}" for i, text in enumerate(task.labels)]
    meaning = ", ".join(classes) or "one logit, the score itself"
    origin = f"Fine-tuned from `{recipe.model}` ({recipe.weights} weights)"
    if not recipe.trained:
        origin = f"The model `{recipe.model}` ({recipe.weights} weights), not trained further"
    lines = [
        "---",
        f"base_model: {recipe.model}",
        "pipeline_tag: text-classification",
        f"tags: [quantization, {manifest.variant}]",
        "---",
        f"# {task.name}, {manifest.variant}",
        "",
        task.description,
        "",
        f"{origin}, stored and run as "
        f"`{manifest.variant}` with {row.cost.quantized_ops} quantized operators. "
        f"Answers: {meaning}.",
        "",
    ]
    if recipe.classes_were:
        lines += [renumbered(task, ", ".join(recipe.classes_were)), ""]
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
        "Environment: " + ", ".join(f"{key} {value}" for key, value in environment.items()) + ".",
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
    lines.append(
        f"- For comparison: the variant itself gives the same answer on "
        f"{next(iter(metrics['files'].values()))['variant_self_agreement_pct']:.2f} % of the rows "
        "whether a row is in a padded batch or alone."
    )
    texts = ", ".join(f'"{text}"' for text in EXAMPLES[: len(task.text_columns)])
    train_rows = f"{data['splits']['train']['rows']:,}"
    rows = f"{train_rows} training rows" if recipe.trained else f"{train_rows} rows for calibration"
    lines += [
        "- `manifest.json`: sha256 of every file, labels, inputs, library versions",
        "",
        "## How to load",
        "",
        "```python",
        *how_to_load(
            recipe,
            texts,
            [facts["file"] for facts in metrics["files"].values()],
            [loader for loader in (LOADER, RUNTIME) if (folder / loader).exists()],
        ),
        "```",
        "",
        *how_to_build(folder),
        "## Data and licence",
        "",
        f"{task.name}: {rows}, from a {data['source']}. "
        f"Licence of the data: {data['licence']}. The licence of the base model applies to the "
        "weights.",
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
        "```",
        "",
    ]


def how_to_load(recipe: Recipe, texts: str, files: list[str], loaders: list[str]) -> list[str]:
    """Python that runs the export: its runtime, or TorchScript, or ONNX where there is no other."""
    if RUNTIME in loaders:
        lines = [
            "from classify import Classifier  # numpy and tokenizers, no torch",
            "",
            'classifier = Classifier(".", threads=1)',
            f"label, probability = classifier([({texts})])[0]",
        ]
        if LOADER in loaders:
            lines += ["", "# or in torch, behind `import torch, load_kernel`, which compiles:"]
            lines.append('# torch.jit.load("model.pt")')
        return lines
    torchscript = "model.pt" in files
    kind = "pt" if torchscript else "np"
    order = ", ".join(f'batch["{name}"]' for name in recipe.inputs)
    lines = ["import torch" if torchscript else "import onnxruntime"]
    lines += ["from transformers import AutoTokenizer", ""]
    for loader in loaders:
        name = loader.removesuffix(".py")
        lines.append(f"import {name}  # compiles the kernel: AVX2, a C++ compiler")
    lines.append('tokenizer = AutoTokenizer.from_pretrained(".")')
    if torchscript:
        lines.append('model = torch.jit.load("model.pt")')
    else:
        lines.append('session = onnxruntime.InferenceSession("model.onnx")')
    lines.append(
        f"batch = tokenizer({texts}, truncation=True, max_length={recipe.max_length}, "
        f'return_tensors="{kind}")'
    )
    if torchscript:
        return [*lines, f"logits = model({order})"]
    return [*lines, f"logits = session.run(None, {{k: batch[k] for k in {recipe.inputs}}})[0]"]
