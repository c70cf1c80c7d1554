"""predict.py of an export: raw texts in, label and probability out, cut as in training."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.model.artifact import Recipe
from stages.model.classifier import load_checkpoint
from stages.model.tokens import load_tokenizer
from stages.plumbing.manifest import MANIFEST
from stages.reporting.model_card import how_to_use
from stages.running.exported_folder import why_not, write_tokenizer
from stages.running.shipped import predict
from stages.running.shipped.predict import CannotLoad, Classifier
from stages.tasks import cola, mrpc, stsb
from tests.building import INPUTS, build, flip, make_ingredients, ship, ship_traced, training_rows
from tests.conftest import WORDS
from tests.families import tiny_distilbert, tiny_roberta, tiny_xlnet, word_pieces

FILE = "model.pt"
LONG = " ".join(WORDS)
TEXTS = ["", "bab", " ba  co.\t", LONG, f"ÄÖ 中文 \u00a0 é {WORDS[3]}", "\u0130 [SEP] <s> </s>"]
PAIRS = [(first, second) for first in TEXTS for second in TEXTS]


def tiny_mpnet(folder: Path) -> Path:
    """MPNet's tokenizer: RoBERTa's special tokens around word pieces."""
    from transformers import MPNetTokenizerFast

    specials = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>", ".", '"']
    vocabulary = {word: i for i, word in enumerate([*specials, *WORDS])}
    MPNetTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "mpnet"}))
    return folder


def tiny_pieces(folder: Path) -> Path:
    word_pieces().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return folder


FAMILIES: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "bert": (tiny_pieces, INPUTS),
    "distilbert": (tiny_distilbert, ["input_ids", "attention_mask"]),
    "roberta": (tiny_roberta, ["input_ids", "attention_mask"]),
    "mpnet": (tiny_mpnet, ["input_ids", "attention_mask"]),
    "xlnet": (tiny_xlnet, ["input_ids", "attention_mask"]),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("texts", [TEXTS, PAIRS], ids=["texts", "pairs"])
def test_tokenizers_alone_cuts_and_pads_as_transformers_does(
    family: str, texts: list, tmp_path: Path
) -> None:
    make, inputs = FAMILIES[family]
    theirs = load_tokenizer(make(tmp_path / "model"))
    shipped = shutil.copytree(tmp_path / "model", tmp_path / "export")
    write_tokenizer(theirs, 24, shipped)
    columns = [texts] if texts is TEXTS else list(map(list, zip(*texts, strict=True)))
    expected = theirs(*columns, truncation=True, max_length=24, padding=True)
    assert len(expected["input_ids"][0]) == 24, "some are cut"
    found = predict.arrays(predict.read_tokenizer(shipped), inputs, texts)
    assert {name: array.tolist() for name, array in found.items()} == {
        name: expected[name] for name in inputs
    }
    left = [row[0] == 0 for row in expected["attention_mask"]]
    assert any(left) == (family == "xlnet")
    # What the file says about cutting and padding is nothing to transformers, which is asked anew.
    again = load_tokenizer(shipped)
    for asked in ({}, {"truncation": True, "max_length": 16}):
        assert dict(again(*columns, **asked)) == dict(theirs(*columns, **asked))


def test_a_tokenizer_that_would_give_other_tokens_is_noticed(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_pieces(tmp_path / "model"))
    encoded = tokenizer(TEXTS, truncation=True, max_length=24)
    tokens = [{name: encoded[name][i] for name in INPUTS} for i in range(len(TEXTS))]
    write_tokenizer(tokenizer, 24, tmp_path)
    assert why_not(tokenizer, INPUTS, [*TEXTS], tokens, tmp_path) == ""
    write_tokenizer(tokenizer, 23, tmp_path)
    assert "other token ids" in why_not(tokenizer, INPUTS, [*TEXTS], tokens, tmp_path)
    assert "also reads bbox" in why_not(tokenizer, [*INPUTS, "bbox"], [*TEXTS], tokens, tmp_path)
    (tmp_path / predict.TOKENIZER).unlink()
    assert "has no tokenizer.json" in why_not(tokenizer, INPUTS, [*TEXTS], tokens, tmp_path)


def test_without_predict_the_card_names_the_arrays_and_transformers() -> None:
    facts = {"task": "mrpc", "model": "m", "weights": "random", "seed": 1, "max_length": 24}
    recipe = Recipe(**facts, inputs=["input_ids", "langs"])  # type: ignore[arg-type]
    card = "\n".join(how_to_use(mrpc.DATASET.task, recipe, None))
    assert card.index('check(".")') < card.index("AutoTokenizer.from_pretrained(folder")
    assert "`max_length=24`" in card
    assert "input_ids, langs" in card


@pytest.fixture(scope="module")
def artifact(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    return build("fp32", make_ingredients(tiny_bert, folder), folder / "artifact")


@pytest.fixture(scope="module")
def exports(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of a task of pairs, one of single texts and a regression of pairs."""
    tasks, folder = (mrpc, cola, stsb), tmp_path_factory.mktemp("exports")
    definitions = [module.DATASET.task for module in tasks]
    return {task.name: ship_traced(artifact, folder / task.name, task) for task in definitions}


@pytest.fixture
def export(exports: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the one of pairs, to do with as a test likes."""
    return shutil.copytree(exports["mrpc"], tmp_path / "export")


def logits_of(artifact: Path, *columns: list[str]) -> np.ndarray:
    """By transformers, each row alone."""
    tokenizer, module = load_tokenizer(artifact), load_checkpoint(artifact)
    rows = []
    for parts in zip(*columns, strict=True):
        encoded = tokenizer(*parts, truncation=True, max_length=32, return_tensors="pt")
        rows.append(module(**encoded).logits.detach().numpy()[0])
    return np.array(rows)


def test_the_answers_are_those_of_transformers_in_the_order_of_the_texts(
    exports: dict[str, Path], artifact: Path
) -> None:
    rows = training_rows(70)
    first, second = rows["sentence1"].tolist(), rows["sentence2"].tolist()
    classifier = Classifier(exports["mrpc"], threads=1)
    texts = list(zip(first, second, strict=True))
    expected = logits_of(artifact, first, second)
    np.testing.assert_allclose(classifier.logits(texts), expected, atol=1e-5)
    shares = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    answers = classifier(texts)
    names = [mrpc.DATASET.task.labels[i] for i in expected.argmax(1)]
    assert [label for label, _ in answers] == names
    np.testing.assert_allclose([share for _, share in answers], shares.max(1), atol=1e-5)
    assert classifier([]) == []
    single = Classifier(exports["cola"])
    np.testing.assert_allclose(single.logits(first), logits_of(artifact, first), atol=1e-5)


def test_a_regression_gives_its_score(exports: dict[str, Path]) -> None:
    classifier, texts = Classifier(exports["stsb"]), [("bab", "cob"), ("dib", "fub")]
    (first,), (second,) = classifier.logits(texts).tolist()
    assert classifier(texts) == [("score", first), ("score", second)]
    assert first != second


@pytest.mark.parametrize(
    ("task", "wrong"),
    [
        ("mrpc", "a single text"),
        ("mrpc", ("a", "b", "c")),
        ("mrpc", ("a", 5)),
        ("cola", ("a", "b")),
        ("cola", None),
        ("cola", "half a character: \ud800"),
    ],
)
def test_what_is_no_text_of_this_task_is_refused(
    task: str, wrong: object, exports: dict[str, Path]
) -> None:
    right = ("a", "b") if task == "mrpc" else "a"
    classifier = Classifier(exports[task])
    with pytest.raises(
        ValueError, match=r"^number 1 is .* this model takes a (text|pair of texts)$"
    ):
        classifier([right, wrong])  # type: ignore[list-item]


@pytest.mark.parametrize("name", [FILE, predict.TOKENIZER])
def test_a_file_is_compared_with_its_checksum_before_it_is_loaded(export: Path, name: str) -> None:
    manifest = json.loads((export / MANIFEST).read_text())
    assert manifest["predict"] == {"model": FILE, "loads": [predict.TOKENIZER, FILE]}
    flip(export / name)
    with pytest.raises(CannotLoad, match=f"{name} is not the one that was exported"):
        Classifier(export)
    (export / name).unlink()
    with pytest.raises(CannotLoad, match=f"{name} is missing"):
        Classifier(export)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "holds no export"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "is damaged"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "is damaged"),
        (lambda folder: noted(folder, predict={"model": FILE, "loads": []}), "lists no files"),
        (lambda folder: noted(folder, sha256={}), "lists no files"),
        (lambda folder: noted(folder, sha256={FILE: "0" * 64}), f"lists no '{predict.TOKENIZER}'"),
        (
            lambda folder: noted(folder, predict={"model": FILE, "loads": ["../model.pt"]}),
            "lists no '../model.pt'",
        ),
    ],
)
def test_a_folder_that_is_no_export_is_refused(
    damage: Callable[[Path], object], message: str, export: Path
) -> None:
    damage(export)
    with pytest.raises(CannotLoad, match=message):
        Classifier(export)


def noted(folder: Path, **facts: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | facts))


@pytest.mark.parametrize("name", ["numpy.py", "load_kernel.py", "libclassify.so", "block.h"])
def test_code_that_is_not_of_the_export_is_not_run(name: str, export: Path) -> None:
    (export / name).write_text("raise SystemExit('run')")
    with pytest.raises(CannotLoad, match=f"{name} is not of the export"):
        Classifier(export)


def test_texts_of_the_users_may_lie_beside_it(export: Path) -> None:
    (export / "texts.txt").write_text("bab\tcob\n")
    (export / "__pycache__").mkdir(exist_ok=True)
    assert len(Classifier(export)([("bab", "cob")])) == 1


def test_all_that_the_kernel_of_a_traced_file_is_compiled_of_is_compared(
    artifact: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    code = ("compiling.py", "kernel.cpp", "load_kernel.py", "tiles.h")
    for name in (*code, FILE):
        (folder / name).write_text("1")
    loads = ship(artifact, folder, [FILE])
    manifest = json.loads((loads / MANIFEST).read_text())
    assert manifest["predict"]["loads"] == [predict.TOKENIZER, FILE, *code]
    for name in code:
        flip(folder / name)
        with pytest.raises(CannotLoad, match=f"{name} is not the one that was exported"):
            Classifier(folder)
        flip(folder / name)


def test_what_the_card_loads_by_other_means_is_checked_as_a_whole(export: Path) -> None:
    """Of a model whose tokenizer needs transformers, which takes any file by its name."""
    assert predict.check(export) == export
    noted(export, predict=None)
    assert predict.check(export) == export
    with pytest.raises(CannotLoad, match="needs transformers"):
        Classifier(export)
    (export / "added_tokens.json").write_text("{}")
    with pytest.raises(CannotLoad, match=r"added_tokens\.json is not of the export"):
        predict.check(export)
    (export / "added_tokens.json").unlink()
    flip(export / "config.json")
    with pytest.raises(CannotLoad, match=r"config\.json is not the one that was exported"):
        predict.check(export)


def run(folder: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(folder / "predict.py"), *arguments]
    return subprocess.run(command, input=given, capture_output=True)


def test_the_command_answers_arguments_and_files_alike(exports: dict[str, Path]) -> None:
    classifier = Classifier(exports["mrpc"])
    texts = [("bab cob.", "dib"), ("fub", "é lel"), ("", "mom")]
    lines = [f"{label}\t{share:.4f}" for label, share in classifier(texts)]
    as_arguments = run(exports["mrpc"], *(part for pair in texts for part in pair))
    assert as_arguments.stdout.decode().splitlines() == lines, as_arguments.stderr
    file = "".join(f"{first}\t{second}\r\n" for first, second in texts)
    as_file = run(exports["mrpc"], given=b"\xef\xbb\xbf" + file.encode())
    assert as_file.stdout.decode().splitlines() == lines, as_file.stderr


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        (["a", "b", "c"], b"", "this model takes pairs, and 3 texts are none"),
        ([], b"a\tb\nno tab\n", "line 2 has 0 tabs"),
        ([], b"\xff\xfe", "can't decode byte"),
        (["--threads", "0", "a", "b"], b"", "threads is 0"),
        (["--trust", "README.md"], b"", "'README.md' is none of the files that are loaded"),
    ],
)
def test_bad_input_to_the_command_is_one_line_and_2(
    arguments: list[str], given: bytes, message: str, exports: dict[str, Path]
) -> None:
    done = run(exports["mrpc"], *arguments, given=given)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("predict: ")
    assert message in line
