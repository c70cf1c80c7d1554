"""optimum-onnx: export, then quantize for this CPU's instructions.

Without VNNI its preset `avx2` stores weights as unsigned 8 bits, whose products do not saturate, so
no range has to be reduced. It has no command that scores or times a model.
"""

from pathlib import Path

from bench.other_tools.answers import onnx_file
from bench.other_tools.job import Job
from bench.other_tools.questions import QUESTIONS, Judgement, Said, unless_said
from bench.other_tools.steps import Command
from stages.model import cpu
from stages.model.tokens import Predict

TITLE, PACKAGE = "optimum-onnx", "optimum-onnx"
REQUIREMENTS = ("optimum-onnx[onnxruntime]==0.1.0",)
MODULES = ("optimum.onnxruntime",)
WRITTEN = ("quantized/ort_config.json", "quantized/config.json")


def prepare(folder: Path) -> None:
    """Nothing has to lie there."""


def files(job: Job) -> dict[str, str]:
    return {}


def commands(job: Job) -> list[Command]:
    how = f"{'--avx512_vnni' if cpu.has_avx512_vnni() else '--avx2'} --per_channel"
    return [
        Command("optimum-cli export onnx --model MODEL --task text-classification onnx"),
        Command(f"optimum-cli onnxruntime quantize --onnx_model onnx {how} -o quantized"),
    ]


def written(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in WRITTEN}


def judge(said: Said) -> dict[str, Judgement]:
    return {question: unless_said(said, question) for question in QUESTIONS}


def reported(said: Said) -> dict[str, float]:
    return {}


def result(folder: Path) -> Path:
    return folder / "quantized" / "model_quantized.onnx"


def load(folder: Path, job: Job) -> tuple[Predict, tuple[str, ...]]:
    return onnx_file(result(folder)), job.classes
