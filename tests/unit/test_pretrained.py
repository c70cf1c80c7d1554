"""What training starts from, and checkpoints that others trained: the right head, or a refusal."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.dataset.task import Task
from stages.plumbing.command import UserError
from stages.tasks.mrpc import DATASET as MRPC
from stages.training.model_names import resolve
from stages.training.pretrained import load
from stages.training.vocabularies import character_tokenizer
from tests.families import FAMILIES

MNLI = Task(
    name="mnli",
    text_columns=("premise", "hypothesis"),
    labels=("entailment", "neutral", "contradiction"),
    metrics=("accuracy",),
    licence="",
    description="",
)
STSB = MNLI.model_copy(update={"name": "stsb", "labels": (), "metrics": ("pearson", "spearman")})
TEXTS = [
    "手机很好，BERT也好。",
    "手机不好，bert不好！",
    "ありがとう ありがとう",
    "한국어 한국어",
    "𠮷",
]


# From scratch


def pieces(text: str, texts: list[str] = TEXTS, name: str = "scratch:char-bert") -> list[str]:
    _, tokenizer = load(resolve(name), MRPC.task, 0, texts=texts)
    found: list[str] = tokenizer.tokenize(text)
    return found


def test_characters_of_the_training_texts_are_the_vocabulary() -> None:
    assert pieces("手机好") == ["手", "机", "好"]
    assert pieces("Bert") == ["b", "##e", "##r", "##t"]
    assert pieces("ありが") == ["あ", "##り", "##が"]
    assert pieces("한국") == ["한", "##국"]


def test_a_letter_that_only_began_words_is_known_inside_them_too() -> None:
    assert pieces("ab", ["a b", "a b"]) == ["a", "##b"]


def test_what_was_seen_once_is_unknown() -> None:
    assert pieces("𠮷好机") == ["[UNK]", "好", "机"]


def test_the_vocabulary_does_not_depend_on_the_order_of_the_texts() -> None:
    _, one = load(resolve("scratch:char-bert"), MRPC.task, 0, texts=TEXTS)
    _, other = load(resolve("scratch:char-bert"), MRPC.task, 0, texts=TEXTS[::-1])
    assert one.get_vocab() == other.get_vocab()
    entries = sorted(one.get_vocab(), key=lambda entry: one.get_vocab()[entry])
    assert entries[:6] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "好"]  # then by count


def test_char_bert_is_small_and_its_saved_tokenizer_gives_the_same_ids(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    source = resolve("scratch:char-bert")
    model, tokenizer = load(source, MRPC.task, 0, texts=TEXTS)
    assert source.weights == "scratch"
    assert model.config.num_hidden_layers == 4
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.model_max_length == 512
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert again(text) == tokenizer(text)
    assert again.tokenize("ありが") == ["あ", "##り", "##が"]  # the accent stays after saving


def test_weights_are_drawn_from_the_seed() -> None:
    def weights(seed: int) -> torch.Tensor:
        model, _ = load(resolve("scratch:char-bert"), MRPC.task, seed, texts=TEXTS)
        return next(model.parameters())

    assert weights(1).equal(weights(1))
    assert not weights(1).equal(weights(2))


def test_random_bert_base_chinese_has_the_real_ones_size() -> None:
    source = resolve("random:bert-base-chinese")
    model, tokenizer = load(source, MRPC.task, 0, texts=TEXTS)
    assert source.weights == "random"
    assert len(tokenizer) == model.config.vocab_size == 21128
    # 102.27 million, of which the head has 2 x 769.
    assert sum(p.numel() for p in model.parameters()) == 102_267_648 + 2 * 769
    assert tokenizer.tokenize("手机好") == ["手", "机", "好"]


def test_more_characters_than_the_vocabulary_holds_leave_the_rare_ones_out() -> None:
    def kept(*texts: str) -> list[str]:
        pieces: list[str] = character_tokenizer(texts, 64, size=40).tokenize("好" + texts[-1][-1])
        return pieces

    common, rare = "好" * 9, "".join(chr(0x4E00 + i) * 2 for i in range(30))
    assert kept(common, rare) == ["好", rare[-1]]
    emoji = "".join(chr(0x20000 + i) * 2 for i in range(20))
    assert kept(common, rare, emoji) == ["好", "[UNK]"]


@pytest.mark.parametrize("name", ["scratch:char-brt", "hf:bert", "a/b/c", "", " "])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=r"unknown model .* known: .*scratch:char-bert"):
        resolve(name)


# Heads


def test_a_regression_gets_one_output_without_a_name(tiny_bert: Path) -> None:
    model, _ = load(resolve(str(tiny_bert)), STSB, 0)
    assert model.config.num_labels == 1
    assert model.config.problem_type == "regression"
    inputs = {"input_ids": torch.tensor([[2, 7, 3]]), "labels": torch.tensor([2.5])}
    output = model(**inputs)
    assert output.logits.shape == (1, 1)
    assert output.loss.item() == pytest.approx((output.logits.item() - 2.5) ** 2, rel=1e-5)


def test_a_classifier_knows_its_labels_by_name(tiny_bert: Path) -> None:
    model, _ = load(resolve(str(tiny_bert)), MNLI, 0)
    assert model.config.problem_type == "single_label_classification"
    assert [model.config.id2label[i] for i in range(3)] == list(MNLI.labels)
    assert model.config.label2id == {"entailment": 0, "neutral": 1, "contradiction": 2}


def test_another_tasks_head_makes_room_for_a_new_one_that_the_seed_decides(tiny_bert: Path) -> None:
    """As RoBERTa's authors went from MNLI to smaller tasks."""
    two, _ = load(resolve(str(tiny_bert)), MRPC.task, 0)
    three, again, other = (load(resolve(str(tiny_bert)), MNLI, seed)[0] for seed in (1, 1, 2))
    assert three.classifier.weight.shape == (3, 32)
    assert three.classifier.weight.equal(again.classifier.weight)
    assert not three.classifier.weight.equal(other.classifier.weight)
    assert three.classifier.weight.std().item() == pytest.approx(0.02, rel=0.5)
    for name, value in two.bert.state_dict().items():
        assert value.equal(three.bert.state_dict()[name]), name


def test_other_weights_that_do_not_fit_are_no_new_head(tiny_bert: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "model")
    file = tmp_path / "model/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"vocab_size": 90}))
    with pytest.raises(
        UserError, match=r"word_embeddings\.weight is \(71, 32\) instead of \(90, 32\)"
    ):
        load(resolve(str(tmp_path / "model")), MRPC.task, 0)


# Checkpoints


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """A fine-tuned model of some family whose outputs are called so, its config changed so."""

    def make(names: list[str], family: str = "roberta", **config: Any) -> Path:
        from transformers import AutoConfig, AutoModelForSequenceClassification

        folder = FAMILIES[family](tmp_path / family)
        settings = AutoConfig.from_pretrained(folder)
        settings.id2label = dict(enumerate(names))
        settings.label2id = {name: i for i, name in enumerate(names)}
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(settings).save_pretrained(folder)
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
        return folder

    return make


def own_logits(folder: Path) -> np.ndarray:
    """As transformers alone computes them, in the checkpoint's order."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    return logits(model)


def logits(model: Any) -> np.ndarray:
    with torch.inference_mode():
        found: np.ndarray = model.eval()(input_ids=torch.tensor([[9, 17, 30, 12]])).logits.numpy()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_in_another_order_is_turned_into_the_tasks(
    family: str, checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint(["CONTRADICTION", "NEUTRAL", "ENTAILMENT"], family)
    model, _ = load(resolve(str(folder)), MNLI, 0, fine_tuned=True)
    np.testing.assert_array_equal(logits(model), own_logits(folder)[:, [2, 1, 0]])
    assert model.config.id2label[0] == "entailment"
    assert "orders its classes CONTRADICTION, NEUTRAL, ENTAILMENT" in capsys.readouterr().out


def test_a_turn_of_three_classes_is_not_confused_with_its_inverse(
    checkpoint: Callable[..., Path],
) -> None:
    folder = checkpoint(["neutral", "contradiction", "entailment"])
    model, _ = load(resolve(str(folder)), MNLI, 0, fine_tuned=True)
    np.testing.assert_array_equal(logits(model), own_logits(folder)[:, [2, 0, 1]])


@pytest.mark.parametrize(
    "names", [["Not-Equivalent", "EQUIVALENT"], ["not equivalent", "equivalent"]]
)
def test_case_and_joining_of_names_do_not_count(
    names: list[str], checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint(names)
    model, _ = load(resolve(str(folder)), MRPC.task, 0, fine_tuned=True)
    np.testing.assert_array_equal(logits(model), own_logits(folder))
    assert "orders" not in capsys.readouterr().out


@pytest.mark.parametrize("names", [["LABEL_0", "LABEL_1"], ["0", "1"]])
def test_generic_names_are_taken_to_be_in_the_tasks_order(
    names: list[str], checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint(names)
    model, _ = load(resolve(str(folder)), MRPC.task, 0, fine_tuned=True)
    np.testing.assert_array_equal(logits(model), own_logits(folder))
    assert "taken to be not_equivalent, equivalent, in this order" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["good", "bad"], "has the classes good, bad, task mrpc has not_equivalent, equivalent"),
        (["a", "b", "c"], "has 3 outputs .a, b, c., task mrpc needs 2"),
    ],
)
def test_other_classes_are_refused(
    names: list[str], expected: str, checkpoint: Callable[..., Path]
) -> None:
    with pytest.raises(UserError, match=expected):
        load(resolve(str(checkpoint(names))), MRPC.task, 0, fine_tuned=True)


def test_a_regression_wants_a_checkpoint_of_one_output(checkpoint: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"has 2 outputs .* task stsb needs 1 \(a score\)"):
        load(resolve(str(checkpoint(["no", "yes"]))), STSB, 0, fine_tuned=True)
    folder = checkpoint(["similarity"])
    model, _ = load(resolve(str(folder)), STSB, 0, fine_tuned=True)
    np.testing.assert_array_equal(logits(model), own_logits(folder))


def test_random_weights_are_no_checkpoint() -> None:
    with pytest.raises(UserError, match=r"'scratch:char-bert' is not fine-tuned: .* random"):
        load(resolve("scratch:char-bert"), MRPC.task, 0, texts=TEXTS, fine_tuned=True)


# Precision


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_arrives_as_float32(
    kind: str, key: str, checkpoint: Callable[..., Path]
) -> None:
    folder = checkpoint(["not_equivalent", "equivalent"], **{key: kind})
    weights = load_file(folder / "model.safetensors")
    halved = {name: value.to(getattr(torch, kind)) for name, value in weights.items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})
    for name in (str(folder), f"random:{folder}"):
        model, _ = load(resolve(name), MRPC.task, 0)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert model.config.dtype == torch.float32
    model, _ = load(resolve(str(folder)), MRPC.task, 0)
    for name, value in halved.items():
        assert model.state_dict()[name].equal(value.float()), name


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_integer_weights_are_refused(kind: str, key: str, checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint(["not_equivalent", "equivalent"])
    config = json.loads((folder / "config.json").read_text())
    config.pop("dtype", None)
    (folder / "config.json").write_text(json.dumps(config | {key: kind}))
    with pytest.raises(UserError, match=kind) as error:
        load(resolve(str(folder)), MRPC.task, 0)
    assert str(folder) in str(error.value)
    assert "floating point" in str(error.value)


def test_a_damaged_tokenizer_is_refused_in_one_line(tiny_bert: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "model")
    (tmp_path / "model/tokenizer.json").write_text('{"version": "1.0", ')
    with pytest.raises(UserError, match="/model' has no tokenizer that transformers can read"):
        load(resolve(str(tmp_path / "model")), MRPC.task, 0)
