"""The encoder of int8_fast: the answers of the same integers in transformers' own model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

from stages import variants
from stages.engines.int8.layers import Int8Linear
from stages.engines.runtime import packed_file
from stages.engines.safe_l.families import FAMILIES
from stages.engines.safe_l.rounding import PER_TOKEN
from stages.model.artifact import WEIGHTS, copy_without_weights
from stages.model.classifier import predictor
from stages.model.tokens import Batch, Predict
from stages.plumbing.command import UserError
from stages.tasks.mrpc import DATASET
from stages.variants import Ingredients, Skipped
from stages.variants.int8_fast.engine import load
from stages.variants.int8_fast.tensors import BY_DISTANCE, FORMAT

VOCABULARY = 90
# Sums in another order leave this share of the logits' range; where they round one activation the
# other way, a text's logits move by a step of its 7 bits.
NEAR, ONE_STEP = 1e-4, 0.05


@dataclass(frozen=True)
class Kind:
    """A small random model: model_type, what differs from `BERT_LIKE`, and whether it has types."""

    model: str = "bert"
    changes: dict[str, Any] = field(default_factory=dict)
    types: bool = True


BERT_LIKE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "initializer_range": 0.2,
    "pad_token_id": 1,
}
DISTILBERT_NAMES = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
ALBERT = {"embedding_size": 16, "hidden_act": "gelu"}  # its own is an approximation, as `gelu_new`
KINDS = {
    "bert": Kind(),
    "bert without types": Kind(types=False),
    "roberta": Kind("roberta", {"type_vocab_size": 1}, types=False),
    "xlm-roberta": Kind("xlm-roberta", {"type_vocab_size": 1}, types=False),
    "camembert": Kind("camembert", {"type_vocab_size": 1}, types=False),
    "data2vec-text": Kind("data2vec-text", {"type_vocab_size": 1}, types=False),
    "mpnet": Kind("mpnet", types=False),
    "electra": Kind("electra", {"embedding_size": 32}),
    "electra, narrow embeddings": Kind("electra", {"embedding_size": 20}),
    "albert": Kind("albert", ALBERT | {"num_hidden_layers": 3}),
    "albert, two groups": Kind(
        "albert",
        ALBERT | {"embedding_size": 32, "num_hidden_layers": 5, "num_hidden_groups": 2},
    ),
    "ernie": Kind("ernie"),
    "distilbert": Kind("distilbert", DISTILBERT_NAMES, types=False),
    "distilbert relu": Kind("distilbert", DISTILBERT_NAMES | {"activation": "relu"}, types=False),
    "gelu_new": Kind(changes={"hidden_act": "gelu_new"}),
    "relu": Kind(changes={"hidden_act": "relu"}),
    "1 label": Kind(changes={"num_labels": 1}),
    "regression": Kind(changes={"num_labels": 1, "problem_type": "regression"}),
    "3 labels": Kind(changes={"num_labels": 3}),
    "5 labels": Kind(changes={"num_labels": 5}),
    "odd sizes": Kind(
        changes={"hidden_size": 50, "num_attention_heads": 5, "intermediate_size": 77}
    ),
    "1 layer": Kind(changes={"num_hidden_layers": 1}),
    "1 head": Kind(changes={"num_attention_heads": 1}),
    "wide": Kind(changes={"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 300}),
}
LENGTHS = {
    "mixed": ([7, 3, 12, 3, 1, 12], 12),
    "one length": ([9, 9, 9], 9),
    "one row": ([11], 11),
    "one token each": ([1, 1], 1),
    "padding longer than any row": ([4, 6, 4], 30),
    "as long as positions go": ([64, 2], 64),
}


def checkpoint(kind: Kind, folder: Path) -> Path:
    set_seed(0)
    config = AutoConfig.for_model(kind.model, **BERT_LIKE | kind.changes)
    module = AutoModelForSequenceClassification.from_config(config)
    for name, value in module.named_parameters():
        if name.endswith("bias") or "norm" in name.lower():
            torch.nn.init.normal_(value.data, mean=float("bias" not in name), std=0.2)
    module.save_pretrained(folder)
    return folder


def built(trained: Path, folder: Path) -> Path:
    folder.mkdir()
    copy_without_weights(trained, folder)
    source = Ingredients(DATASET.task, trained, trained, trained)
    variant = variants.get("int8_fast")
    variant.build(source, folder, variant.params())
    return folder


def oracle(artifact: Path) -> Predict:
    """The integers in `artifact` in transformers' own model."""
    config = AutoConfig.from_pretrained(artifact)
    family = FAMILIES[config.model_type]
    sizes, packed = packed_file.read(FORMAT, artifact / WEIGHTS)
    module: Any = AutoModelForSequenceClassification.from_config(config)

    def put(name: str, part: str, value: np.ndarray) -> None:
        getattr(module.get_submodule(name), part).data = torch.from_numpy(value.copy())

    for name, parts in packed_file.checkpoint_linears(family, sizes).items():
        weight = packed_file.unpack(packed[f"{name}.weight"])
        for i, part in enumerate(parts):
            n, k = module.get_submodule(part).weight.shape
            first = i * packed_file.round_up(n, packed_file.PANEL)
            rows = slice(first, first + n)
            scale, bias = (
                torch.from_numpy(packed[f"{name}.{of}"][rows].copy())
                for of in ("weight_scale", "bias")
            )
            integers = torch.from_numpy(weight[rows, :k].copy())
            module.set_submodule(part, Int8Linear(integers, scale, bias, PER_TOKEN, None))
    for name, norm in packed_file.checkpoint_norms(family, sizes).items():
        put(norm, "weight", packed[f"{name}.gamma"])
        put(norm, "bias", packed[f"{name}.beta"])
    for name, table in packed_file.checkpoint_tables(family, sizes).items():
        of_rows = packed[f"{name}.weight_scale"][:, None]
        put(table, "weight", packed[f"{name}.weight"].astype(np.float32) * of_rows)
    for part in ("weight", "bias"):
        put(family.head[-1][0], part, packed[f"logits.{part}"])
    if family.distances:
        by_distance = torch.from_numpy(packed[BY_DISTANCE].copy())

        def of_places(x: torch.Tensor, *_: Any) -> torch.Tensor:
            places = torch.arange(x.shape[1])
            found = by_distance[:, places - places[:, None] + sizes.positions - 1]
            return found.expand(len(x), -1, -1, -1).contiguous()

        module.get_submodule(family.distances.rpartition(".")[0]).compute_position_bias = of_places
    return predictor(module.eval())


def padded(lengths: list[int], width: int, types: bool = True) -> Batch:
    random = np.random.default_rng(len(lengths) + width)
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.where(mask, random.integers(5, VOCABULARY, mask.shape), 1)
    kinds = (np.arange(width) > width // 2) * mask
    rest = {"token_type_ids": kinds} if types else {}
    return {"input_ids": ids, **rest, "attention_mask": mask}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fast")
    return built(checkpoint(Kind(), folder / "trained"), folder / "artifact")


@pytest.mark.parametrize("name", KINDS)
def test_answers_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    artifact = built(checkpoint(kind, tmp_path / "trained"), tmp_path / "artifact")
    ours, theirs = load(artifact), oracle(artifact)
    all_apart = []
    for lengths, width in LENGTHS.values():
        batch = padded(lengths, width, kind.types)
        got, right = ours(batch), theirs(batch)
        assert got.dtype == np.float32
        assert got.shape == (len(lengths), kind.changes.get("num_labels", 2))
        apart = np.abs(got - right).max(axis=1) / max(1.0, float(np.ptp(right)))
        assert apart.max() < ONE_STEP, (lengths, width)
        all_apart.append(apart)
    # GELU stands for its approximations, too.
    near = ONE_STEP if name == "gelu_new" else NEAR
    assert np.quantile(np.concatenate(all_apart), 0.6) < near


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "odd sizes"])
def test_a_text_does_not_depend_on_its_neighbours(kernel: str, name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    predict = load(built(checkpoint(kind, tmp_path / "trained"), tmp_path / "artifact"))
    for lengths, width in LENGTHS.values():
        batch = padded(lengths * 5, width, kind.types)
        together = predict(batch)
        for row, length in enumerate(lengths * 5):
            alone = {key: array[row : row + 1, :length] for key, array in batch.items()}
            assert np.array_equal(predict(alone), together[row : row + 1]), (lengths, row)


def test_padding_on_the_left_or_no_text_is_refused(bert: Path) -> None:
    predict, batch = load(bert), padded([3, 5], 5)
    flipped = {name: array[:, ::-1].copy() for name, array in batch.items()}
    hole, empty = dict(batch), dict(batch)
    hole["attention_mask"] = np.array([[1, 0, 1, 0, 0], [1, 1, 1, 1, 1]])
    empty["attention_mask"] = np.array([[0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    for strange in (flipped, hole, empty):
        with pytest.raises(UserError, match="padded on its left or empty"):
            predict(strange)
    for shape in ((0, 5), (2, 0)):
        with pytest.raises(UserError, match="holds no token"):
            predict({name: np.zeros(shape, np.int64) for name in batch})


def test_a_family_that_it_does_not_know_is_skipped(tmp_path: Path) -> None:
    sizes = {"vocab_size": VOCABULARY, "d_model": 32, "n_layer": 1, "n_head": 2, "d_inner": 64}
    config = AutoConfig.for_model("xlnet", **sizes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "trained")
    with pytest.raises(Skipped, match=r"knows bert, roberta, .*distilbert, not xlnet"):
        built(tmp_path / "trained", tmp_path / "artifact")


def test_the_same_bytes_are_built_twice(bert: Path, tmp_path: Path) -> None:
    again = built(checkpoint(Kind(), tmp_path / "trained"), tmp_path / "artifact")
    assert (again / WEIGHTS).read_bytes() == (bert / WEIGHTS).read_bytes()
