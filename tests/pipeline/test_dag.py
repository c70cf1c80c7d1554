"""`dvc repro` rebuilds what changed and nothing else; `dvc metrics` compares within and across."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.pipeline.conftest import Repo, of_stage

SEEDS = (42, 43)
INT8, MIXED = "int8_dynamic", "int8_mixed"
VARIANTS = ["fp32", INT8, MIXED]
# Looks at what DVC cannot see, and writes the same bytes if nothing changed.
ALWAYS = {"environment"}


def stages_of(variant: str, *stages: str) -> set[str]:
    return {f"{stage}@mrpc-{seed}-{variant}" for stage in stages for seed in SEEDS}


def test_the_first_run_writes_everything(finished: Repo) -> None:
    dataset = finished.metric("mrpc/dataset.json")
    assert dataset["splits"]["train"]["rows"] == 3668
    assert dataset["source"] == "mirror"
    assert dataset["splits"]["validation"]["majority_f1"] == pytest.approx(0.8122, abs=1e-4)
    assert str(finished.environment["GLUE_MIRROR"]) not in json.dumps(dataset)
    for variant in VARIANTS:
        size = finished.metric(f"mrpc/size/{variant}.json")
        assert (size["quantized_ops"] == 0) == (variant == "fp32")
        assert size["seed"] == SEEDS[0]
        for seed in SEEDS:
            accuracy = finished.metric(f"mrpc/accuracy/seed_{seed}/{variant}.json")
            assert (accuracy["validation"]["n"], accuracy["test"]["n"]) == (408, 1725)
        latency = finished.metric(f"mrpc/latency/{variant}.json")
        for group in ("batch1_threads_1", "batch2_threads_1"):
            assert latency[group]["calls"] == 64
            assert 0 < latency[group]["p50_ms"] <= latency[group]["p90_ms"]
        compare = finished.metric(f"mrpc/compare/{variant}.json")
        assert compare["seeds"] == len(SEEDS)
    assert finished.metric(f"mrpc/size/{INT8}.json")["quantized_ops"] == 14
    assert finished.metric(f"mrpc/size/{INT8}.json")["size_ratio"] > 1.5
    page = (finished.folder / "reports/mrpc/compare.md").read_text()
    for variant in VARIANTS:  # both splits, both again by seed, cost, front
        assert page.count(f"\n| {variant} ") == 6
    assert "`export.variant: auto` ships " in page


def test_every_seed_has_a_model_and_answers_of_its_own(finished: Repo) -> None:
    first, second = (
        finished.contents(f"models/mrpc/seed_{seed}/finetuned/model.safetensors") for seed in SEEDS
    )
    assert list(first.values()) != list(second.values())
    for seed in SEEDS:
        recipe = finished.folder / f"models/mrpc/seed_{seed}/finetuned/recipe.json"
        assert json.loads(recipe.read_text())["seed"] == seed


def test_what_a_variant_learned_of_its_layers_becomes_a_plot(finished: Repo) -> None:
    lines = (finished.folder / "reports/mrpc/sensitivity.csv").read_text().splitlines()
    assert lines[0].startswith("variant,group,")
    groups = [line.split(",")[1] for line in lines[1:] if line.startswith(f"{MIXED},")]
    assert len(groups) == len(lines) - 1 == 8
    assert {"embeddings", "layer 1 attention", "head"} < set(groups)


@pytest.mark.parametrize("seed", SEEDS)
def test_finetune_and_evaluate_score_the_same_model_alike(finished: Repo, seed: int) -> None:
    trained = finished.metric(f"mrpc/finetune/seed_{seed}.json")["validation"]
    evaluated = finished.metric(f"mrpc/accuracy/seed_{seed}/fp32.json")["validation"]
    assert evaluated.pop("collapsed") in (0, 1)  # by a limit of stage evaluate
    assert trained == pytest.approx(evaluated, abs=1e-5)


def test_metrics_are_scalars_with_the_same_keys_for_each_variant(finished: Repo) -> None:
    def leaves(value: object, path: str = "") -> dict[str, object]:
        if isinstance(value, dict):
            parts = [leaves(part, f"{path}.{key}") for key, part in value.items()]
            return {key: leaf for part in parts for key, leaf in part.items()}
        return {path: value}

    for kind in ("accuracy/seed_42", "accuracy/seed_43", "size", "latency", "compare"):
        fp32, *others = (leaves(finished.metric(f"mrpc/{kind}/{v}.json")) for v in VARIANTS)
        assert all(other.keys() == fp32.keys() for other in others)
    for path in (finished.folder / "metrics").rglob("*.json"):
        for key, value in leaves(json.loads(path.read_text())).items():
            assert isinstance(value, (int, float, str)), f"{path.name} {key}"


def test_metrics_show_reads_as_one_row_per_variant(finished: Repo) -> None:
    table = finished.run("dvc", "metrics", "show", "--md", "metrics/mrpc/compare")
    rows = [line for line in table.splitlines() if line.startswith("| metrics")]
    assert [Path(row.split("|")[1].strip()).stem for row in rows] == VARIANTS
    for column in ("f1", "accuracy", "f1_drop_points", "f1_drop_mean_points", "p50_ms", "p90_ms",
                   "speedup_p90", "size_mb", "size_ratio", "agreement_pct", "mcnemar_p", "on_front",
                   "verdict"):  # fmt: skip
        assert f" {column} " in table.splitlines()[0]


def test_a_second_run_runs_only_what_always_runs_whatever_the_readme_says(repo: Repo) -> None:
    with (repo.folder / "README.md").open("a") as file:
        file.write("\n<!-- a comment -->\n")
    assert set(repo.repro()) == ALWAYS
    assert repo.run("git", "status", "--porcelain").split() == ["M", "README.md"]


def test_another_variant_to_export_runs_only_export_and_both_stand_in_one_diff(repo: Repo) -> None:
    repo.commit("branch-int8")
    repo.set_params({"export": {"variant": "fp32"}})
    assert set(repo.repro()) == ALWAYS | {"export@mrpc", "summary"}
    repo.commit("branch-fp32")
    diff = json.loads(repo.run("dvc", "metrics", "diff", "--json", "branch-fp32", "branch-int8"))
    assert set(diff) == {"metrics/mrpc/ships.json"}
    changed = diff["metrics/mrpc/ships.json"]
    assert changed["variant"] == {"old": "fp32", "new": INT8}
    for key in ("p90_ms", "size_mb"):
        assert changed[key]["old"] != changed[key]["new"]
    assert changed["size_mb"]["diff"] < 0
    for branch in ("fp32", "int8"):
        shown = json.loads(repo.run("git", "show", f"branch-{branch}:metrics/mrpc/ships.json"))
        assert {"f1", "p90_ms", "size_mb"} <= shown.keys()
        assert shown.keys() & shown["fp32"].keys() == {"f1", "p90_ms", "size_mb"}
    table = repo.run("dvc", "metrics", "diff", "branch-fp32", "branch-int8")
    assert max(map(len, table.splitlines())) <= 100


def test_what_the_comparison_chooses_ships_with_its_reason(repo: Repo) -> None:
    repo.set_params({"export": {"variant": "auto"}})
    assert repo.would_run() == ALWAYS | {"export@mrpc"}
    repo.stage("export", "mrpc")
    found = repo.metric("mrpc/export.json")
    sentence = f"`export.variant: auto` ships {found['variant']}: {found['reason']}."
    assert sentence in (repo.folder / "reports/mrpc/compare.md").read_text()
    manifest = json.loads((repo.folder / "exports/mrpc/manifest.json").read_text())
    assert manifest["variant"] == found["variant"]
    assert found["reason"] in (repo.folder / "exports/mrpc/README.md").read_text()


def test_an_int8_parameter_rebuilds_only_int8_and_what_follows(repo: Repo) -> None:
    repo.set_params({"quantize": {INT8: {"engine": "fbgemm"}}})
    rebuilt = stages_of(INT8, "quantize")
    assert set(repo.repro("quantize")) - ALWAYS - {"code"} == rebuilt
    # Their outputs changed, and the settings of all variants stand in these three.
    after = {"size_report@mrpc", "latency@mrpc", "compare@mrpc", "summary"} | ALWAYS
    assert repo.would_run() == stages_of(INT8, "evaluate") | after


def test_an_edited_variant_file_trains_nothing_and_leaves_the_others_alone(repo: Repo) -> None:
    with (repo.folder / f"stages/variants/{INT8}.py").open("a") as file:
        file.write("# an edit that changes no result\n")
    changed = repo.would_run()
    assert stages_of(INT8, "quantize", "evaluate") <= changed
    assert not any("finetune" in stage or stage.endswith(("fp32", MIXED)) for stage in changed)


def test_adding_a_seed_trains_only_that_seed_and_times_nothing(repo: Repo) -> None:
    repo.set_params({"finetune": {"seeds": [42, 43, 44]}})
    new = {f"{stage}@mrpc-44-{v}" for stage in ("quantize", "evaluate") for v in VARIANTS}
    assert repo.would_run() == {"finetune@mrpc-44", *new, "compare@mrpc"} | ALWAYS
    assert set(repo.repro("finetune")) - ALWAYS == {"finetune@mrpc-44"}


def test_an_edited_kernel_header_builds_its_own_variant_anew_and_no_other(repo: Repo) -> None:
    repo.set_params({"quantize": {"int8_fast": {}}, "finetune": {"seeds": [42]}})
    repo.repro("quantize", "evaluate")
    with (repo.folder / "stages/variants/int8_fast/kernel/int8_linear.h").open("a") as file:
        file.write("// an edit that changes no result\n")
    changed = {stage for stage in repo.would_run() if stage.startswith(("quantize", "evaluate"))}
    assert changed == {"quantize@mrpc-42-int8_fast", "evaluate@mrpc-42-int8_fast"}


TOY = '''
"""FP32 with another name, which claims to be quantized."""
from stages.variants import Skipped, Variant
from stages.variants.fp32 import Params, build, export, load, tensor_bytes


def count_quantized(artifact):
    return 1


CHANGED


VARIANT = Variant(Params, build, runs_on=__name__)
'''


def toy(change: str = "") -> str:
    """The source of a variant; `change` may define one of its functions anew."""
    return TOY.replace("CHANGED", change)


def everything_shown(repo: Repo) -> str:
    """All names and texts that a user sees of metrics and reports."""
    shown = repo.run("dvc", "metrics", "show", "--md")
    for folder in ("accuracy", "size", "latency", "compare"):
        shown += repo.run("dvc", "metrics", "show", "--md", f"metrics/mrpc/{folder}")
    for root in ("metrics", "reports"):
        for path in (repo.folder / root).rglob("*.*"):
            shown += f"\n{path.relative_to(repo.folder)}\n{path.read_text()}"
    return shown


def test_a_new_variant_is_one_file_and_one_line_and_goes_without_a_trace_as_a_seed_does(
    repo: Repo, tmp_path: Path
) -> None:
    repo.add_variant("toy", toy())
    repo.set_params({"finetune": {"seeds": [42]}})
    ran = repo.repro("compare")
    ours = {f"{stage}@mrpc-42-toy" for stage in ("quantize", "evaluate")}
    assert ours == {stage for stage in ran if "mrpc-" in stage}
    compare = repo.metric("mrpc/compare/toy.json")
    assert (compare["f1_drop_points"], compare["disagreements"]) == (0, 0)
    assert (compare["quantized_ops"], compare["seeds"]) == (1, 1)
    page = (repo.folder / "reports/mrpc/compare.md").read_text()
    assert "| toy " in page
    assert "by seed" not in page
    for folder in ("metrics/mrpc/accuracy", "reports/mrpc/predictions"):
        assert [path.name for path in (repo.folder / folder).iterdir()] == ["seed_42"]

    repo.set_params({"quantize": {"toy": None}})
    ran = repo.repro()
    assert not any("mrpc-" in stage for stage in ran)
    assert "toy" not in everything_shown(repo)

    # Another clone never had the toy: nothing of it may be part of a checksum.
    repo.run("dvc", "remote", "add", "-d", "shared", str(tmp_path / "remote"))
    repo.commit()
    repo.run("dvc", "push")
    clone = repo.clone(tmp_path / "clone")
    clone.run("dvc", "pull")
    assert set(clone.repro()) == ALWAYS


SKIPPED = toy("""
def build(source, folder, params):
    raise Skipped("this machine lacks a thing; install it")
""")


def test_a_variant_that_cannot_run_here_gets_a_line_and_no_row(repo: Repo) -> None:
    repo.add_variant("toy", SKIPPED)
    repo.set_params({"finetune": {"seeds": [42]}})
    ran = repo.repro("compare")
    assert {"evaluate@mrpc-42-toy", "latency@mrpc", "compare@mrpc"} <= set(ran)
    page = (repo.folder / "reports/mrpc/compare.md").read_text()
    assert "\ntoy: SKIPPED, this machine lacks a thing; install it.\n" in page
    assert "| toy" not in page
    for kind in ("size", "latency", "compare"):
        names = {path.stem for path in (repo.folder / "metrics/mrpc" / kind).iterdir()}
        assert names == set(VARIANTS)
    assert "toy" not in (repo.folder / "reports/mrpc/size.csv").read_text()
    repo.set_params({"export": {"variant": "toy"}})
    assert "'toy', which was skipped here" in repo.fails(*of_stage("export", "mrpc"))


FAR_OFF = toy("""
import numpy as np


def load(artifact):
    return lambda batch: np.tile(np.float32([0, 9]), (len(batch["input_ids"]), 1))
""")
COLLAPSED = FAR_OFF.replace("9", "1e-6")
NOT_QUANTIZED = toy().replace("return 1", "return 0")


@pytest.mark.parametrize(
    ("source", "stage", "message"),
    [
        (COLLAPSED, "evaluate", "evaluate: toy of mrpc has collapsed: one answer takes 100.0 % of "
         "validation, the most frequent label "),
        (FAR_OFF, "quantize", "quantize: toy of mrpc does not give fp32's answers: on training "
         "rows its logits are off by "),
        (NOT_QUANTIZED, "quantize", "quantize: toy of mrpc has no quantized operator: it is fp32 "
         "under another name; correct its parameters"),
    ],
    ids=["always one answer", "other answers", "nothing quantized"],
)  # fmt: skip
def test_a_variant_that_is_worth_nothing_stops_dvc_repro_with_one_line(
    repo: Repo, source: str, stage: str, message: str
) -> None:
    repo.add_variant("toy", source)
    repo.set_params({"evaluate": {"min_other_answers_pct": 15}})
    # Logits of nearly nothing are off by all of their size.
    repo.set_params({"quantize": {"toy": {"max_distance_from_fp32": 1.5}}})
    output = repo.fails("dvc", "repro", f"{stage}@mrpc-42-toy")
    lines = [line for line in output.splitlines() if line.startswith(f"{stage}: ")]
    assert len(lines) == 1
    assert lines[0].startswith(message)
    assert "Traceback" not in output
    assert not list(repo.folder.glob("metrics/mrpc/*/seed_*/toy.json"))
    if stage == "quantize":
        assert not (repo.folder / "models/mrpc/seed_42/toy").exists()


WRONG_ONNX = toy("""
def export(artifact, folder):
    import onnx
    from stages.variants import fp32

    files = fp32.export(artifact, folder)
    model = onnx.load(folder / "model.onnx")
    last = model.graph.output[0].name
    for node in model.graph.node:
        for i, name in enumerate(node.output):
            if name == last:
                node.output[i] = "right"
    model.graph.node.append(onnx.helper.make_node("Neg", ["right"], [last]))
    onnx.save(model, folder / "model.onnx")
    return files
""")
# And TorchScript that is wrong where a row is alone.
BOTH_WRONG = WRONG_ONNX.replace(
    "    return files",
    """
    import torch

    class Alone(torch.nn.Module):
        def __init__(self, whole):
            super().__init__()
            self.whole = whole

        def forward(self, ids, types, mask):
            logits = self.whole(ids, types, mask)
            return -logits if ids.shape[0] == 1 else logits

    whole = torch.jit.load(folder / "model.pt")
    torch.jit.script(Alone(whole)).save(str(folder / "model.pt"))
    return files
""",
)


def test_an_exported_file_with_other_answers_is_left_out(repo: Repo) -> None:
    """By stages alone: what DVC would run before them takes two minutes, and has tests above."""
    repo.add_variant("toy", WRONG_ONNX)
    repo.set_params({"finetune": {"seeds": [42]}, "export": {"variant": "toy"}})
    repo.stage("quantize", "mrpc", "42", "toy")
    repo.stage("evaluate", "mrpc", "42", "toy")
    for stage in ("size_report", "latency", "compare"):
        repo.stage(stage, "mrpc")
    output = repo.stage("export", "mrpc")
    assert "left out: model.onnx is not toy: same answer on " in output
    folder = repo.folder / "exports/mrpc"
    assert (folder / "model.pt").exists()
    assert not (folder / "model.onnx").exists()
    assert "model.onnx" not in (folder / "README.md").read_text()
    assert "model.onnx" not in json.loads((folder / "manifest.json").read_text())["sha256"]
    assert set(repo.metric("mrpc/export.json")["files"]) == {"pt"}
    before = repo.contents("exports/mrpc")
    (repo.folder / "stages/variants/toy.py").write_text(BOTH_WRONG)
    said = repo.fails(*of_stage("export", "mrpc"))
    assert "model.onnx is not toy: same answer on" in said
    assert "model.pt is not toy: same answer on 100.00 % of the validation rows and on " in said
    assert "Traceback" not in said
    assert repo.contents("exports/mrpc") == before  # the export that holds stays
    assert (folder / "model.pt").exists()


def test_an_export_is_compared_with_the_variant_and_not_with_another_ones_answers(
    repo: Repo,
) -> None:
    """What stage evaluate left is taken at its word only where the variant still says the same."""
    before = repo.metric("mrpc/export.json")
    folder = repo.folder / "reports/mrpc/predictions/seed_42"
    (folder / "int8_dynamic.csv").unlink()  # which may be a link into DVC's cache
    (folder / "int8_dynamic.csv").write_bytes((folder / "fp32.csv").read_bytes())
    repo.note_predictions("mrpc", 42, "int8_dynamic")
    repo.stage("export", "mrpc")
    assert repo.metric("mrpc/export.json") == before


def test_two_clones_share_results_through_a_folder_remote(repo: Repo, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    repo.run("dvc", "remote", "add", "-d", "shared", str(remote))
    repo.commit()
    repo.run("dvc", "push", "--run-cache")
    clone = repo.clone(tmp_path / "clone")
    clone.run("dvc", "pull", "--run-cache")
    assert set(clone.repro()) == ALWAYS
    assert clone.run("git", "status", "--porcelain") == ""


def test_another_machine_times_anew_and_trains_nothing(repo: Repo) -> None:
    """A machine that has only one core, played by an affinity mask."""
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("this machine has one core only")
    before = repo.metric("mrpc/latency/fp32.json")
    mask = ("taskset", "-c", str(min(os.sched_getaffinity(0))))
    repo.run("python", "-m", "stages.environment", prefix=mask)
    assert repo.metric("environment.json")["cores"] == 1
    assert repo.would_run() == {"latency@mrpc", "export@mrpc", "summary"} | ALWAYS
    assert "latency@mrpc" in repo.repro("latency", prefix=mask)
    after = repo.metric("mrpc/latency/fp32.json")
    assert (before["cores"], after["cores"]) == (len(os.sched_getaffinity(0)), 1)
    # Back on the first machine the run-cache knows the timing that was taken there.
    repo.repro("latency")
    assert repo.metric("mrpc/latency/fp32.json") == before


def test_another_instruction_set_also_evaluates_anew(repo: Repo) -> None:
    """INT8 answers depend on it. Played by torch's own switch for CPU capabilities."""
    repo.environment |= {"ATEN_CPU_CAPABILITY": "default"}
    repo.cold.stage("environment")  # torch asks for it as it is imported
    assert repo.metric("arithmetic.json")["instruction_set"].startswith("default")
    changed = repo.would_run()
    everything = set().union(*(stages_of(variant, "evaluate") for variant in VARIANTS))
    assert {*everything, "latency@mrpc"} <= changed
    assert not any(re.match("finetune|quantize", stage) for stage in changed)


def test_a_typo_is_found_even_when_nothing_else_would_run(repo: Repo) -> None:
    path = repo.folder / "params.yaml"
    path.write_text(path.read_text() + "latncy: {}\n")
    assert "unknown key 'latncy'; did you mean 'latency'?" in repo.fails("dvc", "repro")
