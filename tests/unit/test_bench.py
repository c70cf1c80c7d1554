"""The race: its protocol and its arithmetic. No test passes or fails on a measured time."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench import __main__ as command_line
from bench import kernels, options, ours, peers, race, report, reruns, runner, workloads
from bench.arithmetic import (
    best_peer,
    differing,
    geomean,
    lead_interval,
    pass_seconds,
    ratio,
    single_ms,
)
from bench.environment import differences
from bench.isa import NATIVE, Isa
from bench.options import settings
from bench.prepare import prepare
from bench.progress import Outcome
from bench.results import Measured, results
from bench.targets import judge, missed
from bench.workloads import BERT, Operations, Rows, Workload, make_workload
from stages.model.artifact import read_manifest
from stages.model.ingredients import Skipped
from stages.plumbing.command import UserError
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json
from stages.tasks import mrpc
from tests.building import make_ingredients, training_rows

HERE = Isa(NATIVE, simulated=False)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return Rows(mrpc.DATASET.task, training_rows(24), training_rows(20))


@pytest.fixture(scope="module")
def checkpoint(tiny_bert: Path, rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = make_ingredients(tiny_bert, tmp_path_factory.mktemp("race")).checkpoint
    workloads.add_rows(rows, source)
    return source


@pytest.fixture(scope="module")
def workload(checkpoint: Path, rows: Rows) -> Workload:
    return make_workload(checkpoint, rows, batch_size=4, lengths=(8, 16))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `fp32` stays once it is built, which takes seconds."""
    return tmp_path_factory.mktemp("built")


def sample(runner: str, batch: str, ms: float, threads: int = 1, model: str = BERT) -> dict:
    kind = batch.partition("-")[0]
    facts = {"model": model, "threads": threads, "runner": runner, "kind": kind}
    return facts | {"batch": batch, "round": 0, "ms": ms}


class TestWorkloads:
    def test_sorted_batches_hold_every_row_once_and_get_longer(self, workload: Workload) -> None:
        names = workload.names("sorted")
        assert sorted(i for name in names for i in workload.positions[name]) == list(range(20))
        lengths = [workload.batches[name]["input_ids"].shape[1] for name in names]
        assert lengths == sorted(lengths)

    def test_the_tutorial_is_fed_unsorted_and_padded_to_one_length(
        self, workload: Workload
    ) -> None:
        names = workload.names("tutorial")
        assert workload.positions[names[0]] == list(range(8))
        assert {workload.batches[name]["input_ids"].shape[1] for name in names} == {32}

    def test_padding_is_no_work(self, workload: Workload) -> None:
        kinds = ("sorted", "tutorial")
        counted = [sum(workload.tokens[name] for name in workload.names(kind)) for kind in kinds]
        assert (
            counted[0]
            == counted[1]
            < sum(workload.batches[name]["input_ids"].size for name in workload.names("tutorial"))
        )

    def test_single_texts_have_exactly_the_wanted_length(self, workload: Workload) -> None:
        assert workload.batches["length-16"]["input_ids"].shape == (1, 16)
        assert workload.tokens["length-16"] == 16

    def test_only_the_encoders_linear_layers_are_counted(self, checkpoint: Path) -> None:
        keys_and_values, others = 2 * 32 * 32, 2 * 32 * 32 + 2 * 32 * 64
        operations = workloads.operations_per_token(checkpoint)
        assert operations.of(10, 10) == 10 * 2 * 2 * (keys_and_values + others)
        # In the last of two layers, of ten tokens only those of three texts' beginnings.
        assert operations.of(10, 3) == 2 * (10 * 2 * keys_and_values + 13 * others)

    def test_a_missing_checkpoint_says_what_to_run(self, rows: Rows, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="make repro"):
            workloads.fine_tuned_model(rows, tmp_path / "none", tmp_path / "copy")

    def test_it_is_missed_before_anything_is_timed(
        self, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(workloads, "rows", lambda _: rows)
        monkeypatch.setattr(workloads, "random_model", lambda _, folder: folder)
        monkeypatch.setattr(command_line, "ceilings", lambda _: {})
        monkeypatch.setattr(command_line, "race", lambda *_: pytest.fail("a model was timed"))
        with pytest.raises(UserError, match="make repro"):
            command_line.main(settings(["--quick", "--parts", "race", "--checkpoint", "none"]))


class TestRunning:
    @pytest.mark.slow
    def test_peers_and_ours_are_timed_on_the_same_batches(
        self, checkpoint: Path, workload: Workload, built: Path
    ) -> None:
        names = ["tutorial_fp32", "torch_fp32", "fp32"]
        outcome = race.race(
            "tiny",
            checkpoint,
            names,
            workload,
            [1],
            rounds=2,
            length_calls=1,
            isa=HERE,
            folder=built,
            starts=1,
        )
        assert set(outcome.runners) == set(names)
        timed = pd.DataFrame(outcome.samples)
        for name in ("torch_fp32", "fp32"):
            calls = timed[timed["runner"] == name]
            assert set(calls["batch"]) == set(workload.names("sorted") + workload.names("length"))
        assert differing(outcome.answers["torch_fp32"], outcome.answers["fp32"]) == 0
        facts = outcome.runners["fp32"]
        assert set(outcome.first_answers) == {"torch_fp32", "fp32"}
        assert min(outcome.first_answers.values()) > 0
        assert facts["size_mb"] == (checkpoint / "model.safetensors").stat().st_size / 1e6
        assert facts["peak_mb"] > 50

    def test_a_peer_that_is_not_installed_is_left_out_with_a_line(
        self,
        checkpoint: Path,
        workload: Workload,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture,
    ) -> None:
        monkeypatch.setattr(peers.get("ctranslate2_int8"), "REQUIRES", ("no_such_package",))
        outcome = race.race(
            "tiny", checkpoint, ["ctranslate2_int8"], workload, [1], 1, 0, HERE, tmp_path
        )
        assert outcome.left_out == {"ctranslate2_int8": "no_such_package not installed"}
        assert "left out, no_such_package not installed" in capsys.readouterr().out

    def test_a_variant_that_is_not_there_is_left_out_with_a_line(
        self, checkpoint: Path, workload: Workload, tmp_path: Path
    ) -> None:
        outcome = race.race("tiny", checkpoint, ["no_such"], workload, [1], 1, 0, HERE, tmp_path)
        assert "stages/variants/no_such" in outcome.left_out["no_such"]

    @pytest.mark.slow
    def test_who_takes_too_long_for_one_batch_is_cut_off(
        self, checkpoint: Path, workload: Workload, built: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runner, "LIMIT_S", 1e-9)
        outcome = race.race("tiny", checkpoint, ["fp32"], workload, [1], 1, 0, HERE, built)
        assert "one batch takes over 1e-09 s, cut off" in outcome.left_out["fp32"]
        assert outcome.samples == []

    def test_what_is_built_is_kept_until_its_source_changes(
        self, checkpoint: Path, built: Path
    ) -> None:
        first = prepare("fp32", checkpoint, built / "fp32", HERE)
        stamp = (built / "fp32" / "prepared.json").stat().st_mtime_ns
        assert prepare("fp32", checkpoint, built / "fp32", HERE) == first
        assert (built / "fp32" / "prepared.json").stat().st_mtime_ns == stamp

    def test_a_variant_that_learns_does_so_from_all_training_rows(
        self, checkpoint: Path, rows: Rows, tmp_path: Path
    ) -> None:
        folder = tmp_path / "int8_static"
        folder.mkdir()
        files = ours.Ours("int8_static").prepare(checkpoint, folder, HERE)
        assert files == ["model.safetensors"]
        assert read_json(folder / "calibration_rows.json", list) == rows.train["id"].tolist()
        assert read_manifest(folder).quantized_ops > 0
        assert list(tmp_path.iterdir()) == [folder]

    def test_a_variant_that_cannot_be_built_here_is_skipped(
        self, checkpoint: Path, tmp_path: Path
    ) -> None:
        other = tmp_path / "checkpoint"
        shutil.copytree(checkpoint, other)
        config = read_json(other / "config.json")
        write_json(other / "config.json", config | {"model_type": "xlnet"})
        folder = tmp_path / "int8_fast"
        folder.mkdir()
        with pytest.raises(Skipped, match="not xlnet"):
            ours.Ours("int8_fast").prepare(other, folder, HERE)

    def test_unknown_peers_name_the_nearest(self) -> None:
        with pytest.raises(UserError, match="did you mean 'torch_int8'"):
            settings(["--peers", "torch_int9"])

    def test_one_peer_alone_races_on_one_thread_and_writes_beside_the_whole_race(self) -> None:
        chosen = settings(["--peer", "onnxruntime_int8"])
        assert chosen.runners == ["onnxruntime_int8", "fp32", "int8_fast", "ibert"]
        assert (chosen.threads, chosen.parts) == ([1], ["race"])
        assert chosen.folder == options.SCRATCH / "part"


class TestReruns:
    def test_the_next_race_lies_where_a_new_draw_would(self) -> None:
        """Against scipy's own t interval of a mean, wider by the spread of a single race."""
        values = [1.5, 1.6, 1.64]
        low, high = reruns.of_the_next(values)
        logs = np.log(values)
        of_mean = stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))
        wider = 2  # (1 + 1/3)^0.5 standard deviations are twice the (1/3)^0.5 of the mean
        assert np.log([low, high]) - logs.mean() == pytest.approx(
            wider * (np.array(of_mean) - logs.mean())
        )

    def test_races_are_kept_and_those_of_another_cpu_left_out_of_the_table(
        self, tmp_path: Path
    ) -> None:
        committed = read_json(options.HERE / "results.json")
        other = committed | {"environment": committed["environment"] | {"cpu": "another"}}
        file = tmp_path / "reruns.json"
        reruns.add(committed, "2026-01-02T03:04", 12.3, file)
        reruns.add(other, "2026-01-03T03:04", 0.0, file)
        reruns.add(committed, "2026-01-04T03:04", 0.0, file)
        table = reruns.markdown(committed, read_json(file, list))
        assert "2026-01-02 03:04" in table
        assert "12 %" in table
        assert "2026-01-03" not in table
        lead = committed["targets"][1]["measured"]
        assert f"{lead:.2f} to {lead:.2f}" in table.splitlines()[-1]  # three equal races


class TestArithmetic:
    def test_a_pass_is_the_sum_of_the_batches_medians(self) -> None:
        workload = Workload({"sorted-0": {}, "sorted-1": {}}, {}, {})
        samples = pd.DataFrame(
            [sample("a", "sorted-0", ms) for ms in (1000, 2000, 9000)]
            + [sample("a", "sorted-1", 500)]
        )
        assert pass_seconds(samples, BERT, 1, "a", workload) == pytest.approx(2.5)
        assert pass_seconds(samples, BERT, 2, "a", workload) is None

    def test_timed_batches_stand_for_those_of_their_shape(self) -> None:
        workload = Workload({f"tutorial-{i}": {} for i in range(6)}, {}, {})
        samples = pd.DataFrame([sample("a", "tutorial-0", 100), sample("a", "tutorial-3", 300)])
        assert pass_seconds(samples, BERT, 1, "a", workload) == pytest.approx(1.2)

    def test_single_texts_have_their_own_median(self) -> None:
        samples = pd.DataFrame([sample("a", "length-128", ms) for ms in (3, 1, 2)])
        assert single_ms(samples, BERT, "a", 128) == 2
        assert single_ms(samples, BERT, "a", 32) is None

    def test_the_best_peer_is_never_ours_nor_fp32(self) -> None:
        figures = {"int8_fast": 1.0, "torch_fp32": 1.5, "int8_onnx": 1.2, "torch_int8": 3.0}
        assert best_peer(figures | {"ctranslate2_int8": 2.0}) == "ctranslate2_int8"
        assert best_peer({"int8_fast": 1.0}) is None

    def test_geomean_and_ratio(self) -> None:
        assert geomean([1.0, 4.0]) == pytest.approx(2.0)
        assert geomean([]) is None
        assert ratio(6.0, 2.0) == 3.0
        assert ratio(None, 2.0) is None

    def test_answers_are_compared_where_both_were_given(self) -> None:
        assert differing({0: 1, 1: 0, 2: 1}, {0: 1, 1: 1, 5: 0}) == 1
        assert differing({}, {0: 1}) is None

    def test_the_interval_of_a_lead_holds_it_and_is_a_point_where_nothing_varies(self) -> None:
        steady = [
            sample(name, f"sorted-{i}", ms * (i + 1))
            for i in range(5)
            for name, ms in (("theirs", 30), ("ours", 20))
        ]
        low, high = lead_interval(pd.DataFrame(steady), BERT, "theirs", "ours")
        assert low == pytest.approx(1.5) == high
        steady.append(sample("theirs", "sorted-5", 1000))
        steady.append(sample("ours", "sorted-5", 100))
        low, high = lead_interval(pd.DataFrame(steady), BERT, "theirs", "ours")
        assert low < (450 + 1000) / (300 + 100) < high

    def test_the_interval_of_a_single_text_is_over_its_calls(self) -> None:
        calls = [sample("theirs", "length-16", ms) for ms in (3, 4, 5)]
        calls += [sample("ours", "length-16", 2) for _ in range(3)]
        calls += [sample("theirs", "sorted-0", 900), sample("ours", "sorted-0", 1)]
        low, high = lead_interval(pd.DataFrame(calls), BERT, "theirs", "ours", 16)
        assert (low, high) == (1.5, 2.5)


class TestTargets:
    def test_met_missed_and_not_measured(self) -> None:
        judged = {
            one["name"]: one
            for one in judge(
                {"mrpc_vs_best_peer_x": 1.75, "bert_base_mb": 110.6, "kernel_vs_ort_x": None},
                intervals={"mrpc_vs_best_peer_x": (1.7, 1.8)},
            )
        }
        assert judged["mrpc_vs_best_peer_x"]["met"] is True
        assert "1.75 (1.7 to 1.8), should be at least 1.75: met" in missed(
            judged["mrpc_vs_best_peer_x"]
        )
        assert judged["bert_base_mb"]["met"] is False
        assert judged["kernel_vs_ort_x"] == {
            "name": "kernel_vs_ort_x",
            "target": 1.4,
            "measured": None,
            "interval": None,
            "met": False,
        }
        assert "should be at most 110.5: missed" in missed(judged["bert_base_mb"])
        assert len(judged) == 17

    def test_faster_training_must_not_cost_f1(self) -> None:
        def met(f1_lost: float) -> bool:
            return bool(judge({"finetune_vs_plain_x": 1.5}, f1_lost)[-1]["met"])

        assert met(0.02)
        assert not met(0.03)

    def test_they_follow_from_the_samples(self) -> None:
        batches: dict = {"sorted-0": {}, "tutorial-0": {}, "length-128": {}}
        tokens = {"sorted-0": 100, "tutorial-0": 100, "length-128": 128}
        outcome = Outcome()
        facts = {"size_mb": 110.0, "bits": 8, "load_s": 1.0, "peak_mb": 500.0, "hidden_by": ""}
        outcome.runners = dict.fromkeys(("tutorial_fp32", "torch_int8", "fp32", "int8_fast"), facts)
        outcome.samples = [
            sample("tutorial_fp32", "tutorial-0", 700),
            sample("torch_int8", "sorted-0", 150),
            sample("int8_fast", "sorted-0", 100),
            sample("int8_fast", "sorted-0", 50, threads=2),
            sample("torch_int8", "length-128", 26),
            sample("int8_fast", "length-128", 20),
        ]
        outcome.runners["int8_fast"] = facts | {"peak_mb": 200.0}
        outcome.first_answers = {"torch_int8": 3.0, "int8_fast": 0.5, "fp32": 0.2}
        outcome.answers = {name: {} for name in outcome.runners}
        shape = {"m": 64, "n": 768, "k": 768}
        timed = {"ours_16": 1.0, "fbgemm": 2.0, "onednn": 1.0, "ort": 1.5, "fp32": 4.0}
        measured = Measured(HERE, {"cpu": "a CPU", "cores": 2}, "mrpc")
        measured.workloads[BERT] = Workload(batches, {"sorted-0": [0], "tutorial-0": [0]}, tokens)
        measured.operations[BERT] = Operations(1e9, 0)
        measured.races[BERT] = outcome
        measured.ceilings = {"fp32": 2000, "int8_widened_at_once": 2000, "int8_16_products": 4000}
        measured.kernels = {
            "samples": [shape | {"contender": name, "ms": ms} for name, ms in timed.items()],
            "left_out": {},
            "hidden_by": {},
        }
        measured.finetuning = [
            {"way": "plain", "round": 0, "seconds": 150.0, "f1": 0.85},
            {"way": "ours", "round": 0, "seconds": 100.0, "f1": 0.86},
        ]
        summed_up = results(measured)
        assert {one["name"]: one["measured"] for one in summed_up["targets"]} == {
            "mrpc_vs_tutorial_fp32_x": pytest.approx(7.0),
            "mrpc_vs_best_peer_x": pytest.approx(1.5),
            "minilm_vs_best_peer_x": None,
            "batch1_len128_vs_best_peer_x": pytest.approx(1.3),
            "batch1_len384_vs_best_peer_x": None,
            "minilm_len16_vs_best_peer_x": None,
            "first_answer_vs_best_peer_x": pytest.approx(6.0),
            "peak_memory_vs_best_peer_x": pytest.approx(2.5),
            "share_of_ceiling_pct": pytest.approx(25.0),
            "native_vnni_vs_best_peer_x": None,
            "threads2_vs_1_x": pytest.approx(2.0),
            "kernel_vs_fbgemm_x": pytest.approx(2.0),
            "kernel_vs_onednn_x": pytest.approx(1.0),
            "kernel_vs_ort_x": pytest.approx(1.5),
            "minilm_differing_answers": None,
            "bert_base_mb": 110.0,
            "finetune_vs_plain_x": pytest.approx(1.5),
        }
        (fast,) = (row for row in summed_up["runners"] if row["runner"] == "int8_fast")
        assert fast["share_of_ceiling_pct"] == pytest.approx(25.0)  # 100 GOP in 0.1 s
        assert fast["share_of_wall_pct"] == pytest.approx(50.0)
        json.dumps(summed_up)
        text = report.markdown(summed_up)
        assert "**torch_int8** (best peer)" in text
        assert "random weights" in text
        assert "should be at least 1.6: missed" in text


def test_the_same_samples_give_the_same_file(tmp_path: Path) -> None:
    chosen = settings(["--quick", "--out", str(tmp_path)])
    measured = Measured(HERE, {"cpu": "a CPU", "cores": 2}, "mrpc")
    timed = {"m": 64, "n": 768, "k": 768, "contender": "ort", "ms": 0.12345}
    fp32 = timed | {"contender": "fp32", "ms": 1.0}
    measured.kernels = {"samples": [timed, fp32], "left_out": {}, "hidden_by": {}}
    command_line.write(measured, chosen)
    first = (tmp_path / "samples.csv.gz").read_bytes()
    command_line.write(measured, chosen)
    assert (tmp_path / "samples.csv.gz").read_bytes() == first
    assert pd.read_csv(tmp_path / "samples.csv.gz")["ms"].tolist() == [0.1235, 1.0]


def test_the_committed_table_is_that_of_the_committed_figures() -> None:
    figures = read_json(options.HERE / "results.json")
    assert (options.HERE / "results.md").read_text(encoding="utf-8") == report.markdown(figures)


def test_another_machine_is_named_by_what_differs() -> None:
    lines = differences({"cpu": "A", "torch": "1"}, {"cpu": "B", "torch": "1", "cores": 4})
    assert lines == [
        "cpu: A in the committed race, B here",
        "cores: not recorded in the committed race, 4 here",
    ]


def test_kernels_give_every_contender_a_time_at_every_shape() -> None:
    measured = kernels.measure(reduce_range=True, turns=2, shapes=[(8, 64, 64), (16, 64, 64)])
    counts = pd.DataFrame(measured["samples"]).groupby("contender").size()
    assert {"fp32", "ort"} <= set(counts.index)
    assert set(counts) == {4}


def test_a_library_that_computes_nothing_is_found_out() -> None:
    reference = np.array([[1.0, -1.0], [0.5, 2.0]])
    assert race.alike(reference + 0.2, reference)
    assert not race.alike(np.zeros_like(reference), reference)
    assert not race.alike(np.full_like(reference, np.nan), reference)
