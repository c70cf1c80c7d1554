"""Which layers suffer from int8: groups of layers, and one that was made hopeless on purpose."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    PretrainedConfig,
    RobertaConfig,
    XLNetConfig,
)

from stages import variants
from stages.engines.int8.calibration import padded
from stages.model.artifact import WEIGHTS
from stages.model.classifier import load_checkpoint, predictor
from stages.model.tokens import predict_all
from stages.plumbing.json_file import read_json
from stages.variants import Ingredients
from stages.variants.int8_mixed.layer_groups import group_of, groups_of
from tests.building import as_if_trained, batch, build, make_ingredients


@pytest.mark.parametrize(
    ("layer", "group"),
    [
        ("bert.embeddings.word_embeddings", "embeddings"),
        ("bert.embeddings.token_type_embeddings", "embeddings"),
        ("bert.encoder.layer.3.attention.self.query", "layer 3 attention"),
        ("bert.encoder.layer.3.attention.output.dense", "layer 3 attention"),
        ("bert.encoder.layer.3.intermediate.dense", "layer 3 ffn in"),
        ("bert.encoder.layer.11.output.dense", "layer 11 ffn out"),
        ("bert.pooler.dense", "head"),
        ("classifier", "head"),
        ("distilbert.embeddings.position_embeddings", "embeddings"),
        ("distilbert.transformer.layer.0.attention.q_lin", "layer 0 attention"),
        ("distilbert.transformer.layer.0.attention.out_lin", "layer 0 attention"),
        ("distilbert.transformer.layer.5.ffn.lin1", "layer 5 ffn in"),
        ("distilbert.transformer.layer.5.ffn.lin2", "layer 5 ffn out"),
        ("pre_classifier", "head"),
        ("roberta.embeddings.word_embeddings", "embeddings"),
        ("roberta.encoder.layer.7.attention.self.value", "layer 7 attention"),
        ("roberta.encoder.layer.7.intermediate.dense", "layer 7 ffn in"),
        ("roberta.encoder.layer.7.output.dense", "layer 7 ffn out"),
        ("classifier.dense", "head"),
        ("classifier.out_proj", "head"),
        ("transformer.word_embedding", "embeddings"),
        ("transformer.layer.2.rel_attn.q", "layer 2 attention"),
        ("transformer.layer.2.ff.layer_1", "layer 2 ffn in"),
        ("transformer.layer.2.ff.layer_2", "layer 2 ffn out"),
        ("sequence_summary.summary", "head"),
        ("logits_proj", "head"),
    ],
)
def test_the_group_of_a_layer_by_its_name(layer: str, group: str) -> None:
    assert group_of(layer) == group


TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
ATTENTION = ["layer 0 attention", "layer 1 attention"]
FEED_FORWARD = ["layer 0 ffn in", "layer 0 ffn out", "layer 1 ffn in", "layer 1 ffn out"]


@pytest.mark.parametrize(
    ("config", "attention"),
    [
        (BertConfig(vocab_size=20, **TINY), ATTENTION),
        (RobertaConfig(vocab_size=20, **TINY), ATTENTION),
        (DistilBertConfig(vocab_size=20, dim=16, hidden_dim=32, n_layers=2, n_heads=2), ATTENTION),
        # Its attention multiplies with bare parameters, which stay in fp32.
        (XLNetConfig(vocab_size=20, d_model=16, n_layer=2, n_head=2, d_inner=32), []),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_every_layer_of_a_model_is_in_one_group(
    config: PretrainedConfig, attention: list[str]
) -> None:
    module = AutoModelForSequenceClassification.from_config(config)
    groups = groups_of(module)
    assert set(groups) == {"embeddings", "head", *attention, *FEED_FORWARD}
    names = [name for group in groups.values() for name in group]
    kinds = torch.nn.Linear | torch.nn.Embedding
    expected = [name for name, child in module.named_modules() if isinstance(child, kinds)]
    assert sorted(names) == sorted(expected)


HOPELESS = "layer 0 ffn out"


@pytest.fixture(scope="module")
def ingredients(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Ingredients:
    """One input of a layer is 10,000 times the others, and counts no more than they do.

    So a static range that holds it leaves the others a level or none. The labels are this model's
    own answers in fp32, half of them 1: each answer that int8 changes is an error.
    """
    folder = tmp_path_factory.mktemp("ingredients")
    checkpoint = as_if_trained(tiny_bert, folder / "model")
    module = load_checkpoint(checkpoint)
    layer = module.get_submodule("bert.encoder.layer.0")
    with torch.no_grad():
        widening, narrowing = layer.intermediate.dense, layer.output.dense  # type: ignore[union-attr]
        widening.weight[5] *= 1e4  # type: ignore[index, union-attr, operator]
        widening.bias[5] *= 1e4  # type: ignore[index, union-attr, operator]
        narrowing.weight[:, 5] /= 1e4  # type: ignore[index, union-attr, operator]
    module.save_pretrained(checkpoint)  # type: ignore[operator]
    made = make_ingredients(checkpoint, folder, rows=256)
    rows = pd.read_parquet(made.train)
    logits = predict_all(predictor(module), padded(made.task, made.checkpoint, rows), len(rows))
    middle = float(np.median(logits[:, 1] - logits[:, 0]))
    with torch.no_grad():
        module.classifier.bias[0] += middle  # type: ignore[index, union-attr, operator]
    module.save_pretrained(made.checkpoint)  # type: ignore[operator]
    rows["label"] = (logits[:, 1] - logits[:, 0] > middle).astype(int)
    rows.to_parquet(made.train)
    return made


@pytest.fixture(scope="module")
def artifact(ingredients: Ingredients, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "artifact"
    settings = {"rows": 200, "calibration_rows": 64, "max_drop_points": 8.0}
    return build("int8_mixed", ingredients, folder, percentile=100, **settings)


def test_a_hopeless_layer_is_ranked_first_and_kept_in_fp32(artifact: Path) -> None:
    table = pd.read_csv(artifact / "sensitivity.csv").set_index("group")
    assert table.index[0] == "embeddings"  # in the order of the network
    assert len(table) == len({"embeddings", "head", *ATTENTION, *FEED_FORWARD})
    assert table["rms_logit_difference"].idxmax() == HOPELESS
    others = table["rms_logit_difference"].drop(HOPELESS)
    assert table["rms_logit_difference"][HOPELESS] > 3 * others.max()
    decision = read_json(artifact / "decision.json")
    assert decision["kept"] == [HOPELESS]
    assert decision["met"]
    assert [each["kept"] for each in decision["tried"]] == [[], [HOPELESS]]
    assert table.index[table["kept_in_fp32"] == 1].tolist() == [HOPELESS]


def test_what_is_kept_in_fp32_is_stored_so_and_all_else_in_int8(
    ingredients: Ingredients, artifact: Path
) -> None:
    stored, before = load_file(artifact / WEIGHTS), load_checkpoint(ingredients.checkpoint)
    hopeless = "bert.encoder.layer.0.output.dense"
    for name in (name for names in groups_of(before).values() for name in names):
        expected = torch.float32 if name == hopeless else torch.int8
        assert stored[f"{name}.weight"].dtype == expected, name
    assert torch.equal(stored[f"{hopeless}.weight"], before.state_dict()[f"{hopeless}.weight"])
    assert variants.get("int8_mixed").engine.count_quantized(artifact) == 16


def test_the_mixed_model_is_nearer_to_fp32_than_the_static_one(
    ingredients: Ingredients, artifact: Path, tmp_path: Path
) -> None:
    static = build(
        "int8_static",
        ingredients,
        tmp_path / "static",
        rows=64,
        percentile=100,
        max_distance_from_fp32=10,
    )
    expected = predictor(load_checkpoint(ingredients.checkpoint))(batch(rows=50))
    mixed, all_int8 = (
        np.abs(variants.get(name).engine.load(folder)(batch(rows=50)) - expected).mean()
        for name, folder in (("int8_mixed", artifact), ("int8_static", static))
    )
    assert mixed < all_int8 / 3
