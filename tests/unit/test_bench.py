"""The race: its protocol and its arithmetic. No test passes or fails on a measured time."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import kernels, peers, race, report, runner, work
from bench.arithmetic import best_peer, differing, geomean, pass_seconds, ratio, single_ms
from bench.environment import differences
from bench.isa import NATIVE, Isa
from bench.options import settings
from bench.prepare import prepare
from bench.race import Outcome
from bench.results import Measured, results
from bench.targets import judge, missed
from bench.work import BERT, Operations, Rows, Work, make_work
from stages.plumbing.command import UserError
from stages.tasks import mrpc
from tests.building import make_source, training_rows

HERE = Isa(NATIVE, simulated=False)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return Rows(mrpc.TASK, training_rows(24), training_rows(20))


@pytest.fixture(scope="module")
def checkpoint(tiny_bert: Path, rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = make_source(tiny_bert, tmp_path_factory.mktemp("race")).checkpoint
    work.add_rows(rows, source)
    return source


@pytest.fixture(scope="module")
def given(checkpoint: Path, rows: Rows) -> Work:
    return make_work(checkpoint, rows, batch_size=4, lengths=(8, 16))


def sample(runner: str, batch: str, ms: float, threads: int = 1, model: str = BERT) -> dict:
    kind = batch.partition("-")[0]
    facts = {"model": model, "threads": threads, "runner": runner, "kind": kind}
    return facts | {"batch": batch, "round": 0, "ms": ms}


class TestWork:
    def test_sorted_batches_hold_every_row_once_and_get_longer(self, given: Work) -> None:
        names = given.names("sorted")
        assert sorted(i for name in names for i in given.positions[name]) == list(range(20))
        lengths = [given.batches[name]["input_ids"].shape[1] for name in names]
        assert lengths == sorted(lengths)

    def test_the_tutorial_is_fed_unsorted_and_padded_to_one_length(self, given: Work) -> None:
        names = given.names("tutorial")
        assert given.positions[names[0]] == list(range(8))
        assert {given.batches[name]["input_ids"].shape[1] for name in names} == {32}

    def test_padding_is_no_work(self, given: Work) -> None:
        kinds = ("sorted", "tutorial")
        counted = [sum(given.tokens[name] for name in given.names(kind)) for kind in kinds]
        assert (
            counted[0]
            == counted[1]
            < sum(given.batches[name]["input_ids"].size for name in given.names("tutorial"))
        )

    def test_single_texts_have_exactly_the_wanted_length(self, given: Work) -> None:
        assert given.batches["length-16"]["input_ids"].shape == (1, 16)
        assert given.tokens["length-16"] == 16

    def test_only_the_encoders_linear_layers_are_counted(self, checkpoint: Path) -> None:
        keys_and_values, others = 2 * 32 * 32, 2 * 32 * 32 + 2 * 32 * 64
        found = work.operations_per_token(checkpoint)
        assert found.of(10, 10) == 10 * 2 * 2 * (keys_and_values + others)
        # In the last of two layers, of ten tokens only those of three texts' beginnings.
        assert found.of(10, 3) == 2 * (10 * 2 * keys_and_values + 13 * others)

    def test_a_missing_checkpoint_says_what_to_run(self, rows: Rows, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="make repro"):
            work.fine_tuned_model(rows, tmp_path / "none", tmp_path / "copy")


class TestRunning:
    def test_peers_and_ours_are_timed_on_the_same_batches(
        self, checkpoint: Path, given: Work, tmp_path: Path
    ) -> None:
        names = ["tutorial_fp32", "torch_fp32", "fp32"]
        outcome = race.race(
            "tiny",
            checkpoint,
            names,
            given,
            [1],
            rounds=2,
            length_calls=1,
            isa=HERE,
            folder=tmp_path,
        )
        assert set(outcome.runners) == set(names)
        timed = pd.DataFrame(outcome.samples)
        for name in ("torch_fp32", "fp32"):
            mine = timed[timed["runner"] == name]
            assert set(mine["batch"]) == set(given.names("sorted") + given.names("length"))
        assert differing(outcome.answers["torch_fp32"], outcome.answers["fp32"]) == 0
        facts = outcome.runners["fp32"]
        assert facts["size_mb"] == (checkpoint / "model.safetensors").stat().st_size / 1e6
        assert facts["peak_mb"] > 50

    def test_a_peer_that_is_not_installed_is_left_out_with_a_line(
        self,
        checkpoint: Path,
        given: Work,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture,
    ) -> None:
        monkeypatch.setattr(peers.get("ctranslate2_int8"), "REQUIRES", ("no_such_package",))
        outcome = race.race(
            "tiny", checkpoint, ["ctranslate2_int8"], given, [1], 1, 0, HERE, tmp_path
        )
        assert outcome.left_out == {"ctranslate2_int8": "no_such_package not installed"}
        assert "left out, no_such_package not installed" in capsys.readouterr().out

    def test_a_variant_that_is_not_there_is_left_out_with_a_line(
        self, checkpoint: Path, given: Work, tmp_path: Path
    ) -> None:
        outcome = race.race("tiny", checkpoint, ["no_such"], given, [1], 1, 0, HERE, tmp_path)
        assert "stages/variants/no_such.py" in outcome.left_out["no_such"]

    def test_who_takes_too_long_for_one_batch_is_cut_off(
        self, checkpoint: Path, given: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runner, "LIMIT_S", 1e-9)
        outcome = race.race("tiny", checkpoint, ["fp32"], given, [1], 1, 0, HERE, tmp_path)
        assert "one batch takes over 1e-09 s, cut off" in outcome.left_out["fp32"]
        assert outcome.samples == []

    def test_what_is_built_is_kept_until_its_source_changes(
        self, checkpoint: Path, tmp_path: Path
    ) -> None:
        first = prepare("fp32", checkpoint, tmp_path / "fp32", HERE)
        stamp = (tmp_path / "fp32" / "prepared.json").stat().st_mtime_ns
        assert prepare("fp32", checkpoint, tmp_path / "fp32", HERE) == first
        assert (tmp_path / "fp32" / "prepared.json").stat().st_mtime_ns == stamp

    def test_unknown_peers_name_the_nearest(self) -> None:
        with pytest.raises(UserError, match="did you mean 'torch_int8'"):
            settings(["--peers", "torch_int9"])


class TestArithmetic:
    def test_a_pass_is_the_sum_of_the_batches_medians(self) -> None:
        given = Work({"sorted-0": {}, "sorted-1": {}}, {}, {})
        samples = pd.DataFrame(
            [sample("a", "sorted-0", ms) for ms in (1000, 2000, 9000)]
            + [sample("a", "sorted-1", 500)]
        )
        assert pass_seconds(samples, BERT, 1, "a", given) == pytest.approx(2.5)
        assert pass_seconds(samples, BERT, 2, "a", given) is None

    def test_timed_batches_stand_for_those_of_their_shape(self) -> None:
        given = Work({f"tutorial-{i}": {} for i in range(6)}, {}, {})
        samples = pd.DataFrame([sample("a", "tutorial-0", 100), sample("a", "tutorial-3", 300)])
        assert pass_seconds(samples, BERT, 1, "a", given) == pytest.approx(1.2)

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


class TestTargets:
    def test_met_missed_and_not_measured(self) -> None:
        judged = {
            one["name"]: one
            for one in judge(
                {"mrpc_vs_best_peer_x": 1.35, "bert_base_mb": 110.6, "kernel_vs_ort_x": None}
            )
        }
        assert judged["mrpc_vs_best_peer_x"]["met"] is True
        assert judged["bert_base_mb"]["met"] is False
        assert judged["kernel_vs_ort_x"] == {
            "name": "kernel_vs_ort_x",
            "target": 1.4,
            "measured": None,
            "met": False,
        }
        assert "should be at most 110.5: missed" in missed(judged["bert_base_mb"])
        assert len(judged) == 10

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
        outcome.answers = {name: {} for name in outcome.runners}
        shape = {"m": 64, "n": 768, "k": 768}
        timed = {"ours_16": 1.0, "fbgemm": 2.0, "onednn": 1.0, "ort": 1.5, "fp32": 4.0}
        measured = Measured(HERE, {"cpu": "a CPU", "cores": 2}, "mrpc")
        measured.work[BERT] = Work(batches, {"sorted-0": [0], "tutorial-0": [0]}, tokens)
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
        found = results(measured)
        assert {one["name"]: one["measured"] for one in found["targets"]} == {
            "mrpc_vs_tutorial_fp32_x": pytest.approx(7.0),
            "mrpc_vs_best_peer_x": pytest.approx(1.5),
            "batch1_len128_vs_best_peer_x": pytest.approx(1.3),
            "threads2_vs_1_x": pytest.approx(2.0),
            "kernel_vs_fbgemm_x": pytest.approx(2.0),
            "kernel_vs_onednn_x": pytest.approx(1.0),
            "kernel_vs_ort_x": pytest.approx(1.5),
            "minilm_differing_answers": None,
            "bert_base_mb": 110.0,
            "finetune_vs_plain_x": pytest.approx(1.5),
        }
        (fast,) = (row for row in found["runners"] if row["runner"] == "int8_fast")
        assert fast["share_of_ceiling_pct"] == pytest.approx(25.0)  # 100 GOP in 0.1 s
        assert fast["share_of_wall_pct"] == pytest.approx(50.0)
        json.dumps(found)
        text = report.markdown(found)
        assert "**torch_int8** (best peer)" in text
        assert "random weights" in text


def test_another_machine_is_named_by_what_differs() -> None:
    lines = differences({"cpu": "A", "torch": "1"}, {"cpu": "B", "torch": "1", "cores": 4})
    assert lines == [
        "cpu: A in the committed race, B here",
        "cores: not recorded in the committed race, 4 here",
    ]


def test_kernels_give_every_contender_a_time_at_every_shape() -> None:
    found = kernels.measure(seven_bits=True, turns=2, shapes=[(8, 64, 64), (16, 64, 64)])
    counts = pd.DataFrame(found["samples"]).groupby("contender").size()
    assert {"fp32", "ort"} <= set(counts.index)
    assert set(counts) == {4}


def test_a_library_that_computes_nothing_is_found_out() -> None:
    reference = np.array([[1.0, -1.0], [0.5, 2.0]])
    assert race.alike(reference + 0.2, reference)
    assert not race.alike(np.zeros_like(reference), reference)
    assert not race.alike(np.full_like(reference, np.nan), reference)
