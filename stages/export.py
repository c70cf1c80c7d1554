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

from stages import variants
from stages.dataset.task import prefix_of, read_task
from stages.measure.accuracy import answers, same_answers, score
from stages.measure.selection import Choice, choose
from stages.measure.size import MB
from stages.model.artifact import (
    MANIFEST,
    RECIPE,
    Manifest,
    checksums,
    copy_without_weights,
    verify,
)
from stages.model.tokens import batches_of, load_tokenizer, predict_all
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.files import bytes_in, new_folder, read_json, write_json, write_text
from stages.reporting.model_card import model_card
from stages.reporting.row import Row
from stages.running.exported_process import ExportManifest
from stages.settings.params import AUTO, load_params

# TorchScript runs the variant's own kernels, so its logits must be the variant's; a runtime that
# ships with its weights is the variant itself.
MAX_DIFFERENCE = {".pt": 1e-4, ".safetensors": 0.0}
# ONNX computes elsewhere, so its answers must be: on this share of the validation rows, or on as
# many as the variant itself keeps (less a point) between a padded batch and each row alone. Dynamic
# INT8 amplifies any change: one activation rounded the other way moves all that follow.
MIN_AGREEMENT_PCT, ALLOWANCE_POINTS = 99.0, 1.0


def export(task: str) -> None:
    """Write exports/<task>/ and metrics/<task>/export.json."""
    choice = what_ships(task)
    name, target = choice.variant, paths.EXPORTS / task
    artifact = paths.artifact(task, load_params().finetune.seeds[0], name)
    manifest = verify(artifact)
    print(f"ships {name}: {choice.reason}")
    with new_folder(target) as folder:
        copy_without_weights(artifact, folder)
        (folder / RECIPE).unlink()
        files = variants.get(name).engine.export(artifact, folder)
        write_manifest(task, manifest, folder)
        parity = check_parity(task, artifact, manifest, folder, files)
        metrics = shipped_metrics(task, choice, parity)
        write_text(folder / "README.md", model_card(read_task(task), manifest, metrics, folder))
        write_manifest(task, manifest, folder)
    metrics["export_mb"] = bytes_in(target) / MB
    write_json(paths.METRICS / task / "export.json", metrics)
    for facts in parity.values():
        print(
            f"{facts['file']}: {facts['size_mb']:.1f} MB, {facts['agreement_pct']:.2f} % of the "
            f"validation answers as {name}, largest logit difference {facts['max_difference']:.2g}"
        )


def what_ships(task: str) -> Choice:
    """The variant that params.yaml names, or for `auto` the one that the comparison argues for.

    Raises:
        UserError: the named one was skipped on this machine.
    """
    params = load_params()
    definition = read_task(task)
    files = sorted((paths.METRICS / task / "compare").glob("*.json"))
    rows = {path.stem: Row.read(path) for path in files}
    if params.export.variant == AUTO:
        shipping = {name: row for name, row in rows.items() if variants.get(name).ships}
        contenders = {name: row.contender for name, row in shipping.items()}
        budget = params.compare.max_drop_points
        return choose(contenders, variants.REFERENCE, definition.metrics[0], budget)
    if params.export.variant not in rows:
        raise UserError(
            f"export.variant is '{params.export.variant}', which was skipped here (see "
            f"reports/{task}/compare.md); name another, or 'auto'"
        )
    return Choice(params.export.variant, "named by export.variant")


def write_manifest(task: str, manifest: Manifest, folder: Path) -> None:
    contents = ExportManifest(
        task=task,
        variant=manifest.variant,
        labels=list(read_task(task).labels),
        inputs=manifest.recipe.inputs,
        max_length=manifest.recipe.max_length,
        parameters=manifest.parameters,
        versions={
            library: version(library) for library in ("torch", "transformers", "onnxruntime")
        },
        sha256=checksums(folder),
    )
    write_json(folder / MANIFEST, contents.model_dump())


def shipped_metrics(task: str, choice: Choice, parity: dict[str, dict]) -> dict:
    """What a team compares between two branches that ship different variants.

    The validation metrics are the exported files' own (the worse one's); latency is the variant's,
    from stage `latency`, where all variants were interleaved.
    """
    row = read_json(paths.metric(task, "compare", choice.variant))
    metrics, splits = read_task(task).metrics, read_task(task).scored
    kept = [f"{prefix_of(split)}{metric}" for split in splits[1:] for metric in metrics]
    kept += ["p50_ms", "p90_ms", "speedup_p90", "size_mb", "size_ratio", "verdict", "weights"]
    return (
        {"variant": choice.variant, "reason": choice.reason}
        | {metric: min(facts[metric] for facts in parity.values()) for metric in metrics}
        | {key: row[key] for key in kept if key in row}
        | {"files": parity}
    )


def check_parity(
    task: str, artifact: Path, manifest: Manifest, folder: Path, files: list[str]
) -> dict[str, dict]:
    """Load the export in a fresh process and compare it with the variant, row by row.

    The whole validation split (of random weights, a few rows), twice: in padded batches, and each
    row alone.

    Returns:
        `pt` or `onnx` -> file, size, its own metrics, how far it is from the variant, and how far
        the variant is from itself (`variant_self_agreement_pct`: padded batches against alone).

    A file that disagrees with the variant is left out, and said.

    Raises:
        UserError: each of them does.
    """
    settings, definition = load_params().evaluate, read_task(task)
    validation = manifest.recipe.scored(pd.read_parquet(paths.split(task, "validation")))
    tokenizer = load_tokenizer(folder)
    predict = variants.get(manifest.variant).engine.load(artifact)
    sizes = (settings.batch_size, 1)
    expected = {}
    for size in sizes:
        sorted_batches = batches_of(
            tokenizer, definition, validation, manifest.recipe, size, settings.padding
        )
        expected[size] = predict_all(predict, sorted_batches, len(validation))
    labels, result, refused = validation["label"].to_numpy(), {}, {}
    own = agreement_pct(expected[sizes[0]], expected[sizes[1]], labels)
    shipped = fresh_logits(task, folder, len(validation), sizes, settings.padding)
    for file in files:
        logits = {size: shipped[f"{file}/{size}"] for size in sizes}
        difference = max(float(np.abs(logits[size] - expected[size]).max()) for size in sizes)
        agreement = min(agreement_pct(logits[size], expected[size], labels) for size in sizes)
        limit = MAX_DIFFERENCE.get(Path(file).suffix, np.inf)
        if agreement < min(MIN_AGREEMENT_PCT, own - ALLOWANCE_POINTS) or difference > limit:
            refused[file] = (
                f"{file} is not {manifest.variant}: same answer on {agreement:.2f} % of the "
                f"validation rows (the variant in other batches: {own:.2f} %), logits up to "
                f"{difference:.2g} apart; it was not exported"
            )
            continue
        scores = score(definition.metrics, labels, logits[settings.batch_size])
        result[Path(file).suffix.removeprefix(".")] = {
            "file": file,
            "size_mb": (folder / file).stat().st_size / MB,
            "agreement_pct": agreement,
            "max_difference": difference,
            "variant_self_agreement_pct": own,
        } | {metric: float(scores[metric]) for metric in definition.metrics}
    if not result:
        raise UserError("; ".join(refused.values()))
    for file, reason in refused.items():
        (folder / file).unlink()
        print(f"left out: {reason}")
    return result


def agreement_pct(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> float:
    return 100 * float(same_answers(answers(first), answers(second), labels).mean())


def fresh_logits(
    task: str, folder: Path, rows: int, sizes: tuple[int, ...], padding: str
) -> dict[str, np.ndarray]:
    """Logits of the exported files, from a process that never saw the variant."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "logits.safetensors"
        command = [sys.executable, "-m", "stages.running.exported_process", task, str(folder)]
        command += [str(rows)]
        command += [",".join(map(str, sizes)), padding, str(out)]
        code = subprocess.run(command).returncode
        if code:
            raise UserError(
                f"the process that loads the export ended with code {code}; see its message above"
            )
        logits: dict[str, np.ndarray] = load_file(out)
    return logits


if __name__ == "__main__":
    run_stage(export)
