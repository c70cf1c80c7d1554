"""The census of a task's artifacts: bytes on disk and by part, quantized operators, checksum.

Later stages that need all variants depend on this stage's output instead of on the folder
models/<task>, so that a folder left over from a variant no longer listed changes nothing.
"""

import json
from pathlib import Path

import pandas as pd

from stages import variants
from stages.measure.size import MB, bytes_by_part
from stages.model.artifact import Manifest, verify
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import bytes_in, new_file, new_folder, sha256, write_json
from stages.plumbing.manifest import MANIFEST
from stages.settings.arguments import params_for


def size_report(task: str) -> None:
    """Write metrics/<task>/size/<variant>.json and the plots size.csv and sensitivity.csv."""
    params = params_for(task)
    seed, names = params.finetune.seeds[0], list(params.quantize)
    reports = {}
    for name in names:
        manifest = verify(paths.artifact(task, seed, name))
        if manifest.skipped:
            print(f"{name}: SKIPPED, {manifest.skipped}")
        else:
            reports[name] = measure(paths.artifact(task, seed, name), manifest)
    reference = reports[variants.REFERENCE]["size_mb"]
    with new_folder(paths.METRICS / task / "size") as folder:
        for name, report in reports.items():
            ratio = reference / report["size_mb"]
            write_json(folder / f"{name}.json", report | {"size_ratio": ratio})
    rows = [
        {"variant": name, "part": key.removesuffix("_mb"), "size_mb": value}
        for name, report in reports.items()
        for key, value in report["parts"].items()
    ]
    write_table(paths.REPORTS / task / "size.csv", pd.DataFrame(rows))
    write_table(paths.REPORTS / task / "sensitivity.csv", sensitivities(task, seed, list(reports)))
    table = pd.DataFrame({name: report["parts"] for name, report in reports.items()}).T
    table.insert(0, "size_mb", [report["size_mb"] for report in reports.values()])
    print(table.round(1).to_string())


def write_table(target: Path, rows: pd.DataFrame) -> None:
    with new_file(target) as partial:
        rows.to_csv(partial, index=False)


def sensitivities(task: str, seed: int, names: list[str]) -> pd.DataFrame:
    """What variants measured of their layers before they were built; often no row at all."""
    columns = ["variant", "group", "rms_logit_difference", "drop_points", "kept_in_fp32"]
    measured = [
        pd.read_csv(file).assign(variant=name)
        for name in names
        if (file := paths.artifact(task, seed, name) / "sensitivity.csv").exists()
    ]
    return (
        pd.concat([pd.DataFrame(columns=columns), *measured])[columns]
        if measured
        else (pd.DataFrame(columns=columns))
    )


def measure(artifact: Path, manifest: Manifest) -> dict:
    """One artifact, its files already checked against its manifest."""
    parts = bytes_by_part(variants.get(manifest.variant).engine.tensor_bytes(artifact))
    # The manifest holds the checksum of every other file, so its own stands for the artifact.
    checksum = sha256(artifact / MANIFEST)
    were = manifest.recipe.classes_were
    weights = sum((artifact / file).stat().st_size for file in weight_files(manifest.sha256))
    return {
        "size_mb": weights / MB,
        "artifact_mb": bytes_in(artifact) / MB,
        "parts": {f"{part}_mb": size / MB for part, size in parts.items()},
        "quantized_ops": manifest.quantized_ops,
        "weights": manifest.recipe.weights,
        "seed": manifest.recipe.seed,
        "max_length": manifest.recipe.max_length,
        "classes_were": json.dumps(were, ensure_ascii=False) if were else "",
        "artifact_sha256": checksum,
    }


def weight_files(names: dict[str, str]) -> list[str]:
    return [name for name in names if name.endswith((".safetensors", ".onnx"))]


if __name__ == "__main__":
    run_stage(size_report)
