"""What is made of what each tool said, recorded from real runs, and the table of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.other_tools import olive, optimum, pipeline
from bench.other_tools.job import Job
from bench.other_tools.questions import QUESTIONS, Said
from bench.other_tools.steps import OUTPUT, Command, take
from bench.other_tools.table import markdown
from stages.plumbing.command import UserError
from stages.reporting.five_lines import five_lines
from stages.settings.params import load_params

ROOT = Path(__file__).parents[2]
# Of Olive 0.13.0: two of its lines, and two of the five models that it scored on 40 texts.
OLIVE_PRINTED = """\
[2026-11-28 06:51:46,368] [INFO] [cache.py:199:load_model] Loading model 33afde76 from cache.
[2026-11-28 06:51:46,440] [INFO] [engine.py:235:run] Saved output model to olive
"""
INT8 = {"per_channel": True, "reduce_range": True, "quant_mode": "dynamic"}
OLIVE_FOOTPRINT = {
    "799cee00": {
        "parent_model_id": None,
        "pass_run_config": None,
        "is_pareto_frontier": False,
        "metrics": {
            "value": {
                "accuracy-accuracy_score": {"value": 0.824999988079071, "priority": 1},
                "accuracy-f1_score": {"value": 0.8813559412956238, "priority": -1},
                "latency-p90": {"value": 156.45471, "priority": 2},
                "size-bytes": {"value": 90955730, "priority": -1},
            },
            "if_goals_met": False,
        },
    },
    "33afde76": {
        "parent_model_id": "799cee00",
        "pass_run_config": INT8,
        "is_pareto_frontier": True,
        "metrics": {
            "value": {
                "accuracy-accuracy_score": {"value": 0.8500000238418579, "priority": 1},
                "accuracy-f1_score": {"value": 0.8999999761581421, "priority": -1},
                "latency-p90": {"value": 85.77363, "priority": 2},
                "size-bytes": {"value": 23067179, "priority": -1},
            },
            "if_goals_met": True,
        },
    },
    "f6d209f2": {"parent_model_id": "799cee00", "pass_run_config": INT8, "metrics": None},
}
# Of optimum-onnx 0.1.0: all that its two commands printed is of libraries beneath.
OPTIMUM_PRINTED = """\
Failed to load _C_mxfp8.cpython-310-x86_64-linux-gnu.so: Could not load this library
W1128 06:16:07.729000 6764 torch/utils/_pytree.py:630] <enum 'KernelPreference'> is an Enum subclass
`torch_dtype` is deprecated! Use `dtype` instead!
modeling_attn_mask_utils.py:196: TracerWarning: torch.tensor results are registered as constants
  inverted_mask = torch.tensor(1.0, dtype=dtype) - expanded_mask
"""


@pytest.fixture
def of_olive() -> Said:
    return Said(OLIVE_PRINTED, {olive.FOOTPRINT: olive.short(OLIVE_FOOTPRINT)})


@pytest.fixture
def of_pipeline(monkeypatch: pytest.MonkeyPatch) -> Said:
    """The committed run of this repository, as it ended."""
    monkeypatch.chdir(ROOT)
    page = Path("reports/mrpc/compare.md")
    # As tests/pipeline/test_page.py finds it in a real one.
    listed = {"index.html": "<summary><strong>int8_fast</strong>: 4 of 408 answers change"}
    return Said(five_lines("mrpc", load_params()), {str(page): page.read_text()} | listed)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "model").mkdir()
    facts = {"model_type": "bert", "id2label": {"0": "not_equivalent", "1": "equivalent"}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(facts))
    texts = [f"The text number {i} is short.,Short is text number {i}" for i in range(12)]
    rows = [f"{text},{'not_' * (i % 2)}equivalent" for i, text in enumerate(texts)]
    (tmp_path / "pairs.csv").write_text("\n".join(["sentence1,sentence2,label", *rows, ""]))
    return Job(tmp_path / "model", tmp_path / "pairs.csv")


def answered(judged: dict) -> dict[str, str]:
    return {name: one.answered for name, one in judged.items()}


def test_the_pipeline_answers_all(of_pipeline: Said) -> None:
    judged = pipeline.judge(of_pipeline)
    assert set(judged) == set(QUESTIONS)
    assert answered(judged) == dict.fromkeys(QUESTIONS, "yes")
    assert judged["texts"].evidence == "index.html: int8_fast, 4 of 408 answers change"
    assert re.search(r"95 %: \S+ to \S+\)", judged["lose"].evidence)
    assert "more labelled texts would decide" in judged["undecided"].evidence
    assert list(pipeline.reported(of_pipeline)) == ["f1"]


def test_a_pipeline_that_said_nothing_answers_nothing() -> None:
    judged = pipeline.judge(Said("", {"reports/mrpc/compare.md": ""}))
    assert answered(judged) == dict.fromkeys(QUESTIONS, "no")


def test_olive_chooses_and_measures_but_gives_no_interval(of_olive: Said) -> None:
    judged = olive.judge(of_olive)
    assert answered(judged) == {
        "ship": "yes",
        "lose": "partly",
        "faster": "yes",
        "smaller": "yes",
        "texts": "no",
        "undecided": "no",
    }
    assert "saved 33afde76, of 1 that it scored" in judged["ship"].evidence
    assert "it meets the goals" in judged["ship"].evidence
    assert judged["faster"].evidence.startswith("latency-p90 156.455 -> 85.7736 ms")
    assert judged["smaller"].evidence == "size-bytes 9.09557e+07 -> 2.30672e+07"
    assert olive.reported(of_olive) == pytest.approx({"accuracy": 0.85, "f1": 0.9})


def test_optimum_answers_nothing_that_is_asked() -> None:
    judged = optimum.judge(Said(OPTIMUM_PRINTED, {"quantized/ort_config.json": "{}"}))
    assert answered(judged) == dict.fromkeys(QUESTIONS, "no")
    assert judged["lose"].evidence == (
        "nothing of it in the 0 lines that it printed nor in quantized/ort_config.json"
    )


def test_a_line_that_speaks_of_a_question_is_shown_where_no_answer_was_expected() -> None:
    said = Said("Model size: 23.1 MB\n", {})
    assert optimum.judge(said)["smaller"].answered == "partly"
    assert optimum.judge(said)["smaller"].evidence == "Model size: 23.1 MB"
    written = Said("", {"report.json": '{\n  "accuracy": 0.84\n}\n'})
    assert optimum.judge(written)["lose"].evidence == 'report.json: "accuracy": 0.84'


def test_olives_user_writes_a_workflow_that_is_json(job: Job) -> None:
    written = olive.files(job)
    workflow = json.loads(written[olive.CONFIG])
    (data,) = workflow["data_configs"]
    assert data["load_dataset_config"]["file"] == str(job.data)
    assert data["pre_process_data_config"]["input_cols"] == ["sentence1", "sentence2"]
    assert (job.data.parent / data["user_script"]).name in written


def test_a_step_counts_cpu_of_the_processes_that_it_waited_for(job: Job, tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    command = Command("burn DATA", ("python", "-c", nested))
    step = take(command, job.model, job.data, tmp_path, tmp_path)
    assert (step.typed, step.code) == ("burn DATA", 0)
    assert step.cpu_minutes * 60 >= 0.3
    failing = Command("fail", ("python", "-c", "print('why'); raise SystemExit(3)"))
    assert take(failing, job.model, job.data, tmp_path, tmp_path).code == 3
    assert (tmp_path / OUTPUT).read_text() == "why\n"


def test_no_place_of_this_machine_is_kept(job: Job, tmp_path: Path) -> None:
    text = f"read {job.model} and {job.data}, wrote {tmp_path.absolute()}/out/model.onnx"
    assert job.hidden(text, tmp_path / "nowhere") != text
    assert str(tmp_path) not in job.hidden(text, tmp_path)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("", "pairs.csv", "a model and a file are needed"),
        ("none", "pairs.csv", "MODEL=none is no folder with a config.json"),
        ("model", "pairs.tsv", "DATA=pairs.tsv is no .csv"),
        ("model", "others.csv", "has the label 'same', the model's classes are not_equivalent, eq"),
    ],
)
def test_input_that_not_all_tools_can_take_is_refused_in_one_line(
    job: Job, model: str, data: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(job.data.parent)
    Path("others.csv").write_text(job.data.read_text().replace(",equivalent", ",same"))
    with pytest.raises(UserError, match=re.escape(message)):
        Job.given(model, data)


def found(of_olive: Said, contended: bool) -> dict:
    step = {"typed": "olive run", "cpu_minutes": 1.25, "wall_minutes": 9.5, "code": 0}
    judged = {name: vars(one) for name, one in olive.judge(of_olive).items()}
    took: dict[str, Any] = {
        "title": "Olive",
        "version": "0.13.0",
        "left_out": "",
        "steps": [step, step],
    }
    took |= {"files": {"run.json": ["{", "}"]}, "size_mb": 23.07, "differing": 4}
    took |= {"accuracy": 0.85, "reported": {"f1": 0.9}, "questions": judged}
    absent = {"title": "optimum-onnx", "left_out": "cannot be installed: no such package"}
    model = {"model_type": "bert", "fp32_mb": 90.9, "data": "pairs.csv", "texts": 40}
    machine = {"cpu": "a CPU", "instruction_set": "avx2", "cores": 2}
    facts = {"environment": machine, "model": model, "date": "2026-11-28"}
    return facts | {"contended": contended, "tools": [took, absent]}


def test_the_table_adds_up_the_steps_and_says_who_was_left_out(of_olive: Said) -> None:
    page = markdown(found(of_olive, contended=False))
    header, _, row = next(part for part in page.split("\n\n") if "| commands" in part).splitlines()
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    cells = dict(zip(columns, (cell.strip() for cell in row.strip("|").split("|")), strict=True))
    assert cells["tool"] == "Olive 0.13.0"
    assert (cells["commands"], cells["lines to write"]) == ("2", "2")
    assert (cells["CPU minutes"], cells["wall minutes"]) == ("2.5", "19.0")
    assert cells["answers unlike fp32's"] == "4"
    assert "optimum-onnx: left out, cannot be installed: no such package." in page
    assert all(question in page for question, _ in QUESTIONS.values())


def test_wall_minutes_of_a_busy_machine_are_left_out(of_olive: Said) -> None:
    page = markdown(found(of_olive, contended=True))
    assert "CONTENDED" in page
    assert "| wall minutes" not in page
