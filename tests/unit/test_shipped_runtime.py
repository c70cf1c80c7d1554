"""What ships of a packed model: a folder that classifies without torch, also as a service."""

import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import variants
from stages.engines.ibert import engine
from stages.engines.runtime.shipped.classify import COMPILE, LIBRARY, WEIGHTS
from stages.model.artifact import read_recipe
from stages.model.tokens import batches_of, encode, load_tokenizer, predict_all
from stages.reporting.model_card import how_to_build
from stages.running.shipped.predict import LOADERS, Classifier
from stages.tasks import mrpc
from stages.variants.int8_fast.kernel.dispatch import choose_kernel
from stages.variants.int8_fast.linear import LIBRARY as KERNEL_OF_TORCH
from tests.building import as_if_trained, build, make_ingredients, ship, training_rows
from tests.service import post, serving

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return training_rows(1000)


FILES = {"ibert": [WEIGHTS, "model.onnx"], "int8_fast": [WEIGHTS]}


@pytest.fixture(scope="module", params=FILES)
def variant(request: pytest.FixtureRequest) -> str:
    if request.param == "int8_fast" and choose_kernel() == KERNEL_OF_TORCH:
        pytest.skip("its kernel cannot run here")
    return str(request.param)


@pytest.fixture(scope="module")
def shipped(variant: str, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export as stage export leaves it, of the card what runs it."""
    folder = tmp_path_factory.mktemp("shipped")
    ingredients = make_ingredients(as_if_trained(tiny_bert, folder / "model"), folder)
    artifact = build(variant, ingredients, folder / "artifact")
    (target := folder / "export").mkdir()
    files = variants.get(variant).engine.export(artifact, target)
    assert files == FILES[variant]
    return ship(artifact, target, files)


@pytest.fixture(scope="module")
def expected(shipped: Path, variant: str, rows: pd.DataFrame) -> np.ndarray:
    """The logits that stage evaluate writes down."""
    artifact, task = shipped.parent / "artifact", mrpc.DATASET.task
    recipe, tokenizer = read_recipe(artifact), load_tokenizer(artifact)
    predict = variants.get(variant).engine.load(artifact)
    sorted_batches = batches_of(tokenizer, task, rows, recipe, 32, "longest")
    logits: np.ndarray = predict_all(predict, sorted_batches, len(rows))
    assert len({tuple(row) for row in logits.tolist()}) > 900
    return logits


def pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["sentence1"], rows["sentence2"], strict=True))


ALONE = """
import json, sys
from predict import Classifier
texts = [tuple(pair) for pair in json.load(sys.stdin)]
classifier = Classifier(".", threads=2)
logits = classifier.logits(texts)
print(json.dumps([[float(value) for value in row] for row in logits]))
print(json.dumps(classifier(texts[:3])))
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


def test_alone_it_gives_evaluates_logits_and_imports_neither_torch_nor_this_project(
    shipped: Path, rows: pd.DataFrame, expected: np.ndarray
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        input=json.dumps(pairs(rows)),
        capture_output=True,
        text=True,
        cwd=shipped,
    )
    assert done.returncode == 0, done.stderr
    logits, answers, modules = map(json.loads, done.stdout.splitlines())
    np.testing.assert_array_equal(np.array(logits, np.float32), expected)
    assert not {"torch", "transformers", "onnxruntime", "stages", "pandas"} & set(modules)
    labels = np.array(mrpc.DATASET.task.labels)[expected.argmax(1)]
    assert [label for label, _ in answers] == labels[:3].tolist()
    assert all(0.5 <= probability <= 1 for _, probability in answers)


def test_it_is_loaded_as_stage_export_checks_it(
    shipped: Path, rows: pd.DataFrame, expected: np.ndarray
) -> None:
    task, recipe = mrpc.DATASET.task, read_recipe(shipped)
    sorted_batches = batches_of(load_tokenizer(shipped), task, rows, recipe, 7, "longest")
    predict = LOADERS[".safetensors"](shipped / WEIGHTS, 2)
    np.testing.assert_array_equal(predict_all(predict, sorted_batches, len(rows)), expected)


def answered(shipped: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "predict.py", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, cwd=shipped)


def test_the_lines_of_the_card_build_the_same_library_anew(
    shipped: Path, rows: pd.DataFrame, expected: np.ndarray, tmp_path: Path
) -> None:
    folder = shutil.copytree(shipped, tmp_path / "elsewhere")
    (folder / LIBRARY).write_bytes(b"for another machine")
    refused = answered(folder, "a", "b")
    assert refused.returncode == 2
    assert "is not the one that was exported" in refused.stderr
    assert answered(folder, "--trust", LIBRARY).returncode == 0
    assert COMPILE in answered(folder, "a", "b").stderr
    build, trust = how_to_build(folder)[-4:-2]
    assert build == COMPILE
    for line in (build, trust.replace("python", sys.executable)):
        subprocess.run(line.split(), cwd=folder, check=True)
    few = rows.head(2)
    texts = "".join(f"{first}\t{second}\n" for first, second in pairs(few))
    done = answered(folder, given=texts)
    shares = np.exp(expected[:2], dtype=np.float64)
    shares = (shares / shares.sum(1, keepdims=True)).max(1)
    labels = [mrpc.DATASET.task.labels[i] for i in expected[:2].argmax(1)]
    lines = [f"{label}\t{share:.4f}" for label, share in zip(labels, shares, strict=True)]
    assert done.stdout.splitlines() == lines


def test_one_classifier_serves_several_threads_at_once(
    shipped: Path, rows: pd.DataFrame, expected: np.ndarray
) -> None:
    classifier, texts = Classifier(shipped), pairs(rows)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(classifier.logits, [texts[i : i + 25] for i in range(0, 1000, 25)]))
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_a_service_gives_eight_clients_evaluates_answers_bit_for_bit(
    shipped: Path, rows: pd.DataFrame, expected: np.ndarray
) -> None:
    shares = np.exp(expected - expected.max(1, keepdims=True), dtype=np.float64)
    shares /= shares.sum(1, keepdims=True)
    with serving(shipped) as port, ThreadPoolExecutor(8) as clients:
        texts = [list(pair) for pair in pairs(rows)]
        answers = list(clients.map(lambda text: post(port, {"texts": [text]})[1], texts))
    assert [answer[0]["probability"] for answer in answers] == shares.max(1).tolist()
    labels = np.array(mrpc.DATASET.task.labels)[expected.argmax(1)]
    assert [answer[0]["label"] for answer in answers] == labels.tolist()


EXAMPLE = "cc -O3 -pthread -fno-exceptions -fno-threadsafe-statics example.c classify.cpp -lm"


def test_the_example_in_c_gives_the_same_logits(
    shipped: Path, rows: pd.DataFrame, expected: np.ndarray, tmp_path: Path
) -> None:
    folder, few = shutil.copytree(shipped, tmp_path / "c"), rows.head(20)
    subprocess.run(EXAMPLE.split(), cwd=folder, check=True)
    encoded = encode(load_tokenizer(shipped), mrpc.DATASET.task, few, read_recipe(shipped))
    lines = [
        f"{' '.join(map(str, text['input_ids']))} | {' '.join(map(str, text['token_type_ids']))}"
        for text in encoded
    ]
    done = subprocess.run(
        ["./a.out", WEIGHTS, "", "2"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        cwd=folder,
        check=True,
    )
    found = [[np.float32(word) for word in line.split()] for line in done.stdout.splitlines()]
    np.testing.assert_array_equal(np.array(found), expected[:20])


def test_its_library_needs_no_other_than_the_systems(shipped: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("needs readelf")
    listed = subprocess.run(
        ["readelf", "-d", str(shipped / LIBRARY)], capture_output=True, text=True, check=True
    )
    needed = re.findall(r"NEEDED.*\[(\w+)", listed.stdout)
    assert set(needed) <= {"libc", "libm", "libpthread", "ld"}
    assert (shipped / LIBRARY).stat().st_size < 500_000


def test_the_arena_of_the_c99_twin_is_told(
    variant: str, shipped: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if variant != "ibert":
        pytest.skip("it has no twin in C99")
    variants.get(variant).engine.export(shipped.parent / "artifact", tmp_path)
    told = re.search(r"an arena of ([\d,]+) bytes for a text of 32 tokens", capsys.readouterr().out)
    assert told
    c99 = Path(engine.__file__).parent / "c99"
    command = ["cc", str(c99 / "ibert.c"), str(c99 / "main.c"), "-o", str(tmp_path / "twin")]
    subprocess.run(command, check=True)
    asked = [str(tmp_path / "twin"), str(tmp_path / WEIGHTS), "--arena", "32"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert int(done.stdout) == int(told[1].replace(",", ""))
