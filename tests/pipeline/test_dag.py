"""`dvc repro` rebuilds what changed and nothing else; `dvc metrics` compares within and across."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.conftest import Repo

INT8 = "int8_dynamic"
AFTER_A_VARIANT = ["compare@mrpc", "environment", "export@mrpc", "latency@mrpc", "size_report@mrpc"]


def test_the_first_run_writes_everything(finished: Repo) -> None:
    dataset = finished.metric("mrpc/dataset.json")
    assert dataset["splits"]["train"]["rows"] == 3668
    assert dataset["source"] == "mirror"
    assert dataset["splits"]["validation"]["majority_f1"] == pytest.approx(0.8122, abs=1e-4)
    assert str(finished.environment["GLUE_MIRROR"]) not in json.dumps(dataset)
    for variant, ops in (("fp32", 0), (INT8, 14)):
        assert finished.metric(f"mrpc/size/{variant}.json")["quantized_ops"] == ops
        accuracy = finished.metric(f"mrpc/accuracy/{variant}.json")
        assert (accuracy["validation"]["n"], accuracy["test"]["n"]) == (408, 1725)
        latency = finished.metric(f"mrpc/latency/{variant}.json")
        for group in ("batch1_threads_1", "batch2_threads_1"):
            assert latency[group]["calls"] == 64
            assert 0 < latency[group]["p50_ms"] <= latency[group]["p90_ms"]
    assert finished.metric("mrpc/size/int8_dynamic.json")["size_ratio"] > 1.5
    page = (finished.folder / "reports/mrpc/compare.md").read_text()
    assert page.count("\n| fp32 ") == page.count(f"\n| {INT8} ") == 3  # validation, test, cost


def test_finetune_and_evaluate_score_the_same_model_alike(finished: Repo) -> None:
    trained = finished.metric("mrpc/finetune.json")["validation"]
    evaluated = finished.metric("mrpc/accuracy/fp32.json")["validation"]
    assert trained == pytest.approx(evaluated, abs=1e-5)


def test_metrics_are_scalars_with_the_same_keys_for_each_variant(finished: Repo) -> None:
    def leaves(value: object, path: str = "") -> dict[str, object]:
        if isinstance(value, dict):
            parts = [leaves(part, f"{path}.{key}") for key, part in value.items()]
            return {key: leaf for part in parts for key, leaf in part.items()}
        return {path: value}

    for kind in ("accuracy", "size", "latency", "compare"):
        fp32, int8 = (leaves(finished.metric(f"mrpc/{kind}/{v}.json")) for v in ("fp32", INT8))
        assert fp32.keys() == int8.keys()
    for path in (finished.folder / "metrics").rglob("*.json"):
        for key, value in leaves(json.loads(path.read_text())).items():
            assert isinstance(value, (int, float, str)), f"{path.name} {key}"


def test_metrics_show_reads_as_one_row_per_variant(finished: Repo) -> None:
    table = finished.run("dvc", "metrics", "show", "--md", "metrics/mrpc/compare")
    rows = [line for line in table.splitlines() if line.startswith("| metrics")]
    assert [Path(row.split("|")[1].strip()).stem for row in rows] == ["fp32", INT8]
    for column in ("f1", "accuracy", "f1_drop_points", "p50_ms", "p90_ms", "speedup_p90",
                   "size_mb", "size_ratio", "agreement_pct", "mcnemar_p", "verdict"):  # fmt: skip
        assert f" {column} " in table.splitlines()[0]


def test_a_second_run_runs_only_environment(repo: Repo) -> None:
    assert repo.repro() == ["environment"]
    assert repo.run("git", "status", "--porcelain") == ""


def test_a_comment_in_the_readme_runs_nothing_more(repo: Repo) -> None:
    with (repo.folder / "README.md").open("a") as file:
        file.write("\n<!-- a comment -->\n")
    assert repo.repro() == ["environment"]


def test_another_variant_to_export_runs_only_export_and_both_stand_in_one_diff(repo: Repo) -> None:
    repo.commit("branch-int8")
    repo.set_params({"export": {"variant": "fp32"}})
    assert sorted(repo.repro()) == ["environment", "export@mrpc"]
    repo.commit("branch-fp32")
    diff = json.loads(repo.run("dvc", "metrics", "diff", "--json", "branch-fp32", "branch-int8"))
    changed = diff["metrics/mrpc/export.json"]
    assert changed["variant"] == {"old": "fp32", "new": INT8}
    for key in ("p90_ms", "size_mb"):
        assert changed[key]["old"] != changed[key]["new"]
    assert changed["size_mb"]["diff"] < 0
    for branch in ("fp32", "int8"):
        shown = json.loads(repo.run("git", "show", f"branch-{branch}:metrics/mrpc/export.json"))
        assert {"f1", "p90_ms", "size_mb"} <= shown.keys()


def test_an_int8_parameter_rebuilds_only_int8_and_what_follows(repo: Repo) -> None:
    repo.set_params({"quantize": {INT8: {"engine": "fbgemm"}}})
    expected = [*AFTER_A_VARIANT, f"evaluate@mrpc-{INT8}", f"quantize@mrpc-{INT8}"]
    assert sorted(repo.repro()) == sorted(expected)


def test_an_edited_variant_file_trains_nothing_and_leaves_fp32_alone(repo: Repo) -> None:
    with (repo.folder / "stages/variants/int8_dynamic.py").open("a") as file:
        file.write("# an edit that changes no result\n")
    changed = repo.would_run()
    assert {f"quantize@mrpc-{INT8}", f"evaluate@mrpc-{INT8}"} <= changed
    assert not {"finetune@mrpc", "quantize@mrpc-fp32", "evaluate@mrpc-fp32"} & changed


TOY = '''
"""FP32 with another name."""
from stages.variants.fp32 import Params, build, count_quantized, export, load, tensor_bytes
__all__ = ["Params", "build", "count_quantized", "export", "load", "tensor_bytes"]
'''


def test_a_new_variant_is_one_file_and_one_line_and_goes_without_a_trace(
    repo: Repo, tmp_path: Path
) -> None:
    (repo.folder / "stages/variants/toy.py").write_text(TOY)
    params = repo.folder / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("quantize:\n", "quantize:\n  toy: {}\n"))
    ran = repo.repro("compare")
    assert {"quantize@mrpc-toy", "evaluate@mrpc-toy"} <= set(ran)
    assert "finetune@mrpc" not in ran
    compare = repo.metric("mrpc/compare/toy.json")
    assert (compare["f1_drop_points"], compare["disagreements"]) == (0, 0)
    assert "| toy " in (repo.folder / "reports/mrpc/compare.md").read_text()

    params.write_text(before)
    ran = repo.repro()
    assert not any("toy" in stage or "finetune" in stage or "evaluate" in stage for stage in ran)
    shown = repo.run("dvc", "metrics", "show", "--md")
    shown += repo.run("dvc", "metrics", "show", "--md", "metrics/mrpc/accuracy")
    shown += "".join(path.read_text() for path in (repo.folder / "reports").rglob("*.*"))
    assert "toy" not in shown
    assert repo.repro() == ["environment"]

    # Another clone never had the toy: nothing of it may be part of a checksum.
    repo.run("dvc", "remote", "add", "-d", "shared", str(tmp_path / "remote"))
    repo.commit()
    repo.run("dvc", "push")
    clone = repo.clone(tmp_path / "clone")
    clone.run("dvc", "pull")
    assert clone.repro() == ["environment"]


def test_two_clones_share_results_through_a_folder_remote(repo: Repo, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    repo.run("dvc", "remote", "add", "-d", "shared", str(remote))
    repo.commit()
    repo.run("dvc", "push", "--run-cache")
    clone = repo.clone(tmp_path / "clone")
    clone.run("dvc", "pull", "--run-cache")
    assert clone.repro() == ["environment"]
    assert clone.run("git", "status", "--porcelain") == ""


def test_another_machine_times_anew_and_trains_nothing(repo: Repo) -> None:
    """A machine that has only one core, played by an affinity mask."""
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("this machine has one core only")
    before = repo.metric("mrpc/latency/fp32.json")
    mask = ("taskset", "-c", str(min(os.sched_getaffinity(0))))
    repo.run("python", "-m", "stages.environment", prefix=mask)
    assert repo.metric("environment.json")["cores"] == 1
    assert repo.would_run() == {"latency@mrpc", "export@mrpc", "environment"}
    assert "latency@mrpc" in repo.repro("latency", prefix=mask)
    after = repo.metric("mrpc/latency/fp32.json")
    assert (before["cores"], after["cores"]) == (len(os.sched_getaffinity(0)), 1)
    # Back on the first machine the run-cache knows the timing that was taken there.
    repo.repro("latency")
    assert repo.metric("mrpc/latency/fp32.json") == before


def test_another_instruction_set_also_evaluates_anew(repo: Repo) -> None:
    """INT8 answers depend on it. Played by torch's own switch for CPU capabilities."""
    repo.environment |= {"ATEN_CPU_CAPABILITY": "default"}
    repo.run("python", "-m", "stages.environment")
    assert repo.metric("arithmetic.json")["instruction_set"].startswith("default")
    changed = repo.would_run()
    assert {"evaluate@mrpc-fp32", f"evaluate@mrpc-{INT8}", "latency@mrpc"} <= changed
    assert not any("finetune" in stage or "quantize" in stage for stage in changed)


def test_a_typo_is_found_even_when_nothing_else_would_run(repo: Repo) -> None:
    path = repo.folder / "params.yaml"
    path.write_text(path.read_text() + "latncy: {}\n")
    result = subprocess.run(
        ["dvc", "repro"], cwd=repo.folder, env=repo.environment, capture_output=True, text=True
    )
    assert result.returncode != 0
    assert "unknown key 'latncy'; did you mean 'latency'?" in result.stderr
