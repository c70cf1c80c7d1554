"""Export the variant that `export.variant` names, prove that the export gives its answers.

What ships needs nothing of this project: model files, predict.py, serve.py, tokenizer, model card.
"""

from pathlib import Path

from stages import variants
from stages.dataset.task import prefix_of, read_task
from stages.dataset.verified import verify_predictions, verify_splits
from stages.measure.selection import Choice
from stages.measure.size import MB
from stages.model.artifact import RECIPE, copy_without_weights, verify
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.faults import remade
from stages.plumbing.files import bytes_in, new_folder, write_json, write_text
from stages.plumbing.json_file import read_json
from stages.reporting.choice import auto_choice, rows_of
from stages.reporting.model_card import model_card
from stages.reporting.row import Row
from stages.running.export_parity import Validation, check_parity
from stages.running.exported_folder import (
    PREDICT,
    Predicting,
    why_not,
    write_check,
    write_export_manifest,
    write_predict,
    write_tokenizer,
)
from stages.settings.arguments import params_for
from stages.settings.params import AUTO, load_params


def export(task: str) -> None:
    """Write exports/<task>/, metrics/<task>/export.json and ships.json."""
    params_for(task)
    rows = rows_of(task)
    if variants.REFERENCE not in rows:
        raise UserError(f"{paths.METRICS / task / 'compare'} is missing; {remade('compare')}")
    choice = what_ships(rows, task)
    name, target = choice.variant, paths.EXPORTS / task
    seed = load_params().finetune.seeds[0]
    artifact = paths.artifact(task, seed, name)
    manifest = verify(artifact)
    verify_splits(task, "validation")
    verify_predictions(task, seed, name)
    print(f"ships {name}: {choice.reason}")
    validation = Validation.read(task, artifact, manifest.recipe)
    with new_folder(target) as folder:
        copy_without_weights(artifact, folder)
        (folder / RECIPE).unlink()
        files = variants.get(name).engine.export(artifact, folder)
        parity = check_parity(task, name, artifact, validation, folder, files)
        kept = [facts["file"] for facts in parity.values()]
        predicting = ship_predict(task, validation, kept, folder)
        need_what_was_asked_for(parity)
        metrics = shipped_metrics(task, choice, parity)
        card = model_card(read_task(task), manifest, metrics, folder, predicting)
        write_text(folder / "README.md", card)
        write_export_manifest(folder, read_task(task), manifest, predicting)
    metrics["export_mb"] = bytes_in(target) / MB
    write_json(paths.METRICS / task / "export.json", metrics)
    write_json(paths.METRICS / task / "ships.json", beside_fp32(rows, name))
    for facts in parity.values():
        print(
            f"{facts['file']}: {facts['size_mb']:.1f} MB, {facts['agreement_pct']:.2f} % of the "
            f"validation answers as {name}, largest logit difference {facts['max_difference']:.2g}"
        )


def what_ships(rows: dict[str, Row], task: str) -> Choice:
    """The variant that params.yaml names, or for `auto` the one that the comparison argues for.

    Raises:
        UserError: the named one was skipped on this machine.
    """
    params = load_params()
    if params.export.variant == AUTO:
        return auto_choice(rows, params)
    if params.export.variant not in rows:
        raise UserError(
            f"export.variant is '{params.export.variant}', which was skipped here (see "
            f"reports/{task}/compare.md); name another, or 'auto'"
        )
    return Choice(params.export.variant, "named by export.variant")


def need_what_was_asked_for(parity: dict[str, dict]) -> None:
    """Raises UserError where `export.needs` is onnx and no ONNX file holds."""
    if load_params().export.needs == "onnx" and "onnx" not in parity:
        raise UserError(
            "export.needs is onnx, and no ONNX file of what ships gives its answers (see above); "
            "name one in export.variant that needs onnxruntime in reports/<task>/compare.md"
        )


def ship_predict(
    task: str, validation: Validation, files: list[str], folder: Path
) -> Predicting | None:
    """Write the tokenizer and predict.py; what classifies texts, unless a line says why not."""
    recipe, columns = validation.recipe, read_task(task).text_columns
    write_tokenizer(validation.tokenizer, recipe.max_length, folder)
    texts = [
        row[0] if len(columns) == 1 else row
        for row in validation.rows[list(columns)].itertuples(index=False, name=None)
    ]
    if reason := why_not(validation.tokenizer, recipe.inputs, texts, validation.tokens, folder):
        print(f"{PREDICT} checks files, and classifies no texts: {reason}")
        write_check(folder)
        return None
    return write_predict(files, folder)


def beside_fp32(rows: dict[str, Row], name: str) -> dict:
    """What `dvc metrics diff` and `dvc exp show` print: few figures with short names."""
    ours, fp32 = rows[name], rows[variants.REFERENCE]
    figures = {
        of: {
            row.headline: row.over_seeds["validation"].mean,
            "p90_ms": row.cost.p90_ms,
            "size_mb": row.cost.size_mb,
        }
        for of, row in (("ours", ours), (variants.REFERENCE, fp32))
    }
    return (
        {"variant": name, "verdict": ours.verdict}
        | figures.pop("ours")
        | {"drop": ours.over_seeds["validation"].drop.points, "faster": ours.cost.speedup_p90}
        | {"smaller": ours.cost.size_ratio}
        | figures
    )


def shipped_metrics(task: str, choice: Choice, parity: dict[str, dict]) -> dict:
    """All that is known of what ships.

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


if __name__ == "__main__":
    run_stage(export)
