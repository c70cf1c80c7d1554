"""Microsoft Olive: a workflow with an evaluator and a search, after its own example for BERT.

That is examples/bert/bert_ptq_cpu.json of its repository. Here the quantization is dynamic, and the
search tries 7 and 8 bits of weights, one scale per tensor and one per output. A command of its own
captures the graph: in one workflow with the search, Olive 0.13.0 scores the first candidate and
fails with all others ('"FootprintNode" object has no field "model_config"'), since they begin with
the same pass. `align_labels` needs labels that are a ClassLabel, which no setting makes of a CSV's
words: that takes a script of the user's. An older pydantic is pinned, since with 2.14.4 Olive stops
at an evaluator without a type, as the example's is.
"""

import json
import re
from pathlib import Path
from typing import Any

from bench.other_tools.answers import onnx_file
from bench.other_tools.job import Job
from bench.other_tools.questions import PARTLY, QUESTIONS, YES, Judgement, Said, unless_said
from bench.other_tools.steps import Command
from stages.model.tokens import Predict
from stages.plumbing.json_file import read_json

TITLE, PACKAGE = "Olive", "olive-ai"
REQUIREMENTS = ("olive-ai[cpu]==0.13.0", "datasets==5.2.0", "pydantic==2.12.5")
MODULES = ("olive", "datasets")
CONFIG, SCRIPT, FOOTPRINT, INPUT = "run.json", "labelled.py", "footprint.json", "input_model"
SCRIPT_TEXT = """\
from datasets import load_dataset
from olive.data.registry import Registry


@Registry.register_dataset()
def labelled_csv(file, label, **kwargs):
    return load_dataset("csv", data_files=file, split="train").class_encode_column(label)
"""
CONFIG_TEXT = """\
{
  "input_model": {"type": "OnnxModel", "model_path": "captured/model.onnx"},
  "systems": {
    "here": {
      "type": "LocalSystem",
      "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]
    }
  },
  "data_configs": [
    {
      "name": "texts",
      "type": "HuggingfaceContainer",
      "user_script": "labelled.py",
      "load_dataset_config": {"type": "labelled_csv", "file": DATA, "label": LABEL},
      "pre_process_data_config": {
        "type": "huggingface_pre_process", "model_name": MODEL,
        "input_cols": TEXTS, "label_col": LABEL, "align_labels": true, "padding": false
      },
      "post_process_data_config": {"type": "text_classification_post_process"},
      "dataloader_config": {"batch_size": 1}
    }
  ],
  "evaluators": {
    "both": {
      "metrics": [
        {
          "name": "accuracy", "type": "accuracy", "data_config": "texts",
          "sub_types": [
            {
              "name": "accuracy_score", "priority": 1,
              "goal": {"type": "max-degradation", "value": 0.01}OPTIONS
            },
            {"name": "f1_score"OPTIONS}
          ]
        },
        {
          "name": "latency", "type": "latency", "data_config": "texts",
          "sub_types": [
            {
              "name": "p90", "priority": 2,
              "goal": {"type": "percent-min-improvement", "value": 10}
            },
            {"name": "avg"}
          ]
        },
        {"name": "size", "type": "size_on_disk", "sub_types": [{"name": "bytes"}]}
      ]
    }
  },
  "passes": {
    "quantization": {
      "type": "OnnxDynamicQuantization",
      "precision": "int8",
      "quant_preprocess": true,
      "per_channel": "SEARCHABLE_VALUES",
      "reduce_range": "SEARCHABLE_VALUES"
    }
  },
  "search_strategy": {"execution_order": "joint", "sampler": "sequential"},
  "evaluator": "both",
  "evaluate_input_model": true,
  "host": "here",
  "target": "here",
  "cache_dir": "cache",
  "output_dir": "olive"
}
"""


def prepare(folder: Path) -> None:
    """Nothing has to lie there."""


def files(job: Job) -> dict[str, str]:
    count, config = len(job.classes), CONFIG_TEXT
    several = f', "metric_config": {{"task": "multiclass", "num_classes": {count}}}'
    words = {
        "MODEL": json.dumps(str(job.model)),
        "DATA": json.dumps(str(job.data)),
        "LABEL": json.dumps(job.columns.label),
        "TEXTS": json.dumps(job.text_columns),
        "OPTIONS": several if count > 2 else "",
    }
    for word, value in words.items():
        config = config.replace(word, value)
    return {CONFIG: config, SCRIPT: SCRIPT_TEXT}


def commands(job: Job) -> list[Command]:
    capture = "olive capture-onnx-graph --model_name_or_path MODEL --task text-classification"
    return [
        Command(f"{capture} --output_path captured --disable_telemetry"),
        Command(f"olive run --config {CONFIG} --disable_telemetry"),
    ]


def written(folder: Path) -> dict[str, str]:
    return {FOOTPRINT: short(read_json(folder / "olive" / FOOTPRINT))}


def short(footprint: dict[str, Any]) -> str:
    """Of each model that was scored: what it was made with and its figures."""
    found = {}
    for name, node in footprint.items():
        if metrics := node["metrics"]:
            settings = node["pass_run_config"] or {}
            found[name if node["parent_model_id"] else INPUT] = {
                "settings": {key: settings.get(key) for key in ("per_channel", "reduce_range")},
                "on_the_front": node["is_pareto_frontier"],
                "goals_met": metrics["if_goals_met"],
                "metrics": {key: one["value"] for key, one in metrics["value"].items()},
            }
    return json.dumps(found, indent=1)


def models(said: Said) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(said.files[FOOTPRINT])
    return found


def saved(said: Said) -> str:
    """The name of the model that it kept, of all that it tried."""
    loaded = re.findall(r"Loading model (\w+) from cache", said.printed)
    return loaded[-1] if loaded else ""


def judge(said: Said) -> dict[str, Judgement]:
    found, kept = models(said), saved(said)
    if kept not in found or INPUT not in found:
        return {name: unless_said(said, name) for name in QUESTIONS}
    before, after = found[INPUT]["metrics"], found[kept]["metrics"]
    goals = "meets" if found[kept]["goals_met"] else "does not meet"
    chosen = (
        f"saved {kept}, of {len(found) - 1} that it scored, made with "
        f"{json.dumps(found[kept]['settings'])}; it {goals} the goals"
    )

    def both(name: str) -> str:
        return f"{name} {before[name]:.6g} -> {after[name]:.6g}"

    accuracy = f"{both('accuracy-accuracy_score')}, {both('accuracy-f1_score')}"
    judged = {
        "ship": Judgement(YES, chosen),
        "lose": Judgement(PARTLY, f"{accuracy}; no interval"),
        "faster": Judgement(
            YES, f"{both('latency-p90')} ms, ONNX Runtime in fp32 and in int8, 20 calls of one text"
        ),
        "smaller": Judgement(YES, both("size-bytes")),
    }
    nothing = {name: unless_said(said, name) for name in QUESTIONS if name not in judged}
    return judged | nothing


def reported(said: Said) -> dict[str, float]:
    metrics = models(said).get(saved(said), {}).get("metrics", {})
    names = {"accuracy-accuracy_score": "accuracy", "accuracy-f1_score": "f1"}
    return {ours: metrics[theirs] for theirs, ours in names.items() if theirs in metrics}


def result(folder: Path) -> Path:
    return folder / "olive" / "model.onnx"


def load(folder: Path, job: Job) -> tuple[Predict, tuple[str, ...]]:
    return onnx_file(result(folder)), job.classes
