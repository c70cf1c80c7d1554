"""The census of a task's artifacts: bytes on disk and by part, quantized operators, checksum.

Later stages that need all variants depend on this stage's output instead of on the folder
models/<task>, so that a folder left over from a variant no longer listed changes nothing.
"""

import shutil
from pathlib import Path

import pandas as pd

from stages import variants
from stages.measure.size import MB, bytes_by_part
from stages.models.artifact import MANIFEST, verify
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import bytes_in, new_file, new_folder, sha256, write_json
from stages.plumbing.params import load_params


def size_report(task: str) -> None:
    """Write metrics/<task>/size/<variant>.json and the plot data reports/<task>/size.csv."""
    names = list(load_params().quantize)
    remove_unlisted(paths.MODELS / task, names)
    reports = {name: measure(task, name) for name in names}
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
    plot = paths.REPORTS / task / "size.csv"
    with new_file(plot) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)
    table = pd.DataFrame({name: report["parts"] for name, report in reports.items()}).T
    table.insert(0, "size_mb", [report["size_mb"] for report in reports.values()])
    print(table.round(1).to_string())


def remove_unlisted(folder: Path, names: list[str]) -> None:
    """Remove the artifact of a variant that was taken out of params.yaml (DVC's cache keeps it).

    This stage depends on the whole folder: with a leftover in it, no other clone would ever have
    the same one.
    """
    for manifest in folder.glob(f"*/{MANIFEST}"):
        if manifest.parent.name not in names:
            shutil.rmtree(manifest.parent)


def measure(task: str, name: str) -> dict:
    """One artifact, after its files were checked against its manifest."""
    artifact, variant = paths.artifact(task, name), variants.get(name)
    manifest = verify(artifact)
    parts = bytes_by_part(variant.tensor_bytes(artifact))
    # The manifest holds the checksum of every other file, so its own stands for the artifact.
    checksum = sha256(artifact / MANIFEST)
    weights = sum((artifact / file).stat().st_size for file in weight_files(manifest.sha256))
    return {
        "size_mb": weights / MB,
        "artifact_mb": bytes_in(artifact) / MB,
        "parts": {f"{part}_mb": size / MB for part, size in parts.items()},
        "quantized_ops": variant.count_quantized(artifact),
        "weights": manifest.recipe.weights,
        "artifact_sha256": checksum,
    }


def weight_files(names: dict[str, str]) -> list[str]:
    return [name for name in names if name.endswith((".safetensors", ".onnx"))]


if __name__ == "__main__":
    run_stage(size_report)
