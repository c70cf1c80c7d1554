"""Export the variant that `export.variant` names, prove that the export gives its answers.

What ships needs nothing of this project: TorchScript, ONNX, tokenizer, model card, manifest.
"""

import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from stages import tasks, variants
from stages.measure.accuracy import score
from stages.measure.model_card import model_card
from stages.models.artifact import MANIFEST, Manifest, checksums, copy_without_weights, verify
from stages.models.tokens import batches, encode, load_tokenizer, predict_all
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.files import bytes_in, new_folder, read_json, write_json, write_text
from stages.plumbing.params import load_params

NOT_SHIPPED = ("recipe.json", MANIFEST)
# Share of validation rows on which an exported file must give the variant's own answer.
MIN_AGREEMENT_PCT = 99.0


def export(task: str) -> None:
    """Write exports/<task>/ and metrics/<task>/export.json."""
    params = load_params()
    name = params.export.variant
    artifact, target = paths.artifact(task, name), paths.EXPORTS / task
    manifest = verify(artifact)
    with new_folder(target) as folder:
        copy_without_weights(artifact, folder)
        for file in NOT_SHIPPED:
            (folder / file).unlink(missing_ok=True)
        files = variants.get(name).export(artifact, folder)
        parity = check_parity(task, manifest, folder, files)
        metrics = shipped_metrics(task, name, folder, files) | {"parity": parity}
        write_text(folder / "README.md", model_card(tasks.get(task), manifest, metrics))
        write_json(
            folder / MANIFEST,
            {
                "task": task,
                "variant": name,
                "labels": list(tasks.get(task).labels),
                "inputs": manifest.recipe.inputs,
                "max_length": manifest.recipe.max_length,
                "parameters": manifest.parameters,
                "versions": {lib: version(lib) for lib in ("torch", "transformers", "onnxruntime")},
                "sha256": checksums(folder),
            },
        )
    metrics["export_mb"] = bytes_in(target) / 1e6
    write_json(paths.METRICS / task / "export.json", metrics)
    for file in files:
        facts = parity[file.replace(".", "_")]
        print(
            f"{file}: {facts['size_mb']:.1f} MB, {facts['agreement_pct']:.2f} % of {task}'s "
            f"validation answers as {name}, largest logit difference {facts['max_difference']:.2g}"
        )


def shipped_metrics(task: str, name: str, folder: Path, files: list[str]) -> dict:
    """What a team compares between two branches that ship different variants.

    Latency is the variant's from stage `latency`, where all variants were interleaved.
    """
    row = read_json(paths.metric(task, "compare", name))
    kept = ("f1", "accuracy", "test_f1", "test_accuracy", *tasks.get(task).metrics)
    costs = ("p50_ms", "p90_ms", "speedup_p90", "size_mb", "size_ratio", "verdict", "weights")
    return {"variant": name} | {
        key: row[key] for key in dict.fromkeys((*kept, *costs)) if key in row
    }


def check_parity(
    task: str, manifest: Manifest, folder: Path, files: list[str]
) -> dict[str, dict[str, float]]:
    """Load the export in a fresh process and compare it with the variant, row by row.

    The whole validation split, twice: in padded batches, and each row alone.

    Raises:
        UserError: an exported file disagrees with the variant.
    """
    settings, definition = load_params().evaluate, tasks.get(task)
    validation = pd.read_parquet(paths.split(task, "validation"))
    tokenizer, length = load_tokenizer(folder), manifest.recipe.max_length
    tokens = encode(tokenizer, definition, validation, length)
    predict = variants.get(manifest.variant).load(paths.artifact(task, manifest.variant))
    sizes = (settings.batch_size, 1)
    expected = {}
    for size in sizes:
        work = batches(tokenizer, tokens, size, settings.padding, length)
        expected[size] = predict_all(predict, work, len(tokens))
    found = fresh_logits(task, folder, sizes, settings.padding, length)
    result = {}
    for file in files:
        logits = {size: found[f"{file}/{size}"] for size in sizes}
        differences = [np.abs(logits[size] - expected[size]).max() for size in sizes]
        agreement = min(
            100 * float((logits[size].argmax(axis=1) == expected[size].argmax(axis=1)).mean())
            for size in sizes
        )
        if agreement < MIN_AGREEMENT_PCT:
            raise UserError(
                f"{file} gives the answer of {manifest.variant} on only {agreement:.2f} % of the "
                f"validation rows (at least {MIN_AGREEMENT_PCT} % needed); it was not exported"
            )
        labels = validation["label"].to_numpy()
        scores = score(definition.metrics, labels, logits[settings.batch_size])
        result[file.replace(".", "_")] = {
            "max_difference": float(max(differences)),
            "agreement_pct": agreement,
            "size_mb": (folder / file).stat().st_size / 1e6,
        } | {metric: float(scores[metric]) for metric in definition.metrics}
    return result


def fresh_logits(
    task: str, folder: Path, sizes: tuple[int, ...], padding: str, max_length: int
) -> dict[str, np.ndarray]:
    """Logits of the exported files, from a process that never saw the variant."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "logits.safetensors"
        command = [sys.executable, "-m", "stages.measure.exported", task, str(folder)]
        command += [",".join(map(str, sizes)), padding, str(max_length), str(out)]
        subprocess.run(command, check=True)
        logits: dict[str, np.ndarray] = load_file(out)
    return logits


if __name__ == "__main__":
    run_stage(export)
