"""Every family of encoders that transformers can classify texts with, and what each variant does.

    python -m tests.all_families [FAMILY ...]

Tiny random models, each trained on nothing, go the way of the pipeline: loaded, fitted to their
tokenizer, quantized in every way. Writes docs/evidence/families.json, from which the table in
docs/families.md is made (make tables); families that are named replace their lines there.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from stages import variants
from stages.model.artifact import RECIPE, Recipe, read_manifest
from stages.plumbing.command import UserError
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json
from stages.tasks.mrpc import DATASET
from stages.training.fit import fit
from stages.training.model_names import resolve
from stages.training.pretrained import load
from stages.variants import Ingredients
from tests.building import build, training_rows

RESULTS = Path(__file__).parents[1] / "docs/evidence/families.json"
TASK = DATASET.task
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "embedding_size": 32,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "cls_token_id": 2,
    "eos_token_id": 3,
    "sep_token_id": 3,
    "initializer_range": 0.2,  # logits that differ from text to text, as a trained model's do
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
# Family, as its config.json names it -> what it needs beside SIZES.
FAMILIES: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16},
    "bert": {},
    "big_bird": {},
    "camembert": {},
    "canine": {},
    "convbert": {"conv_kernel_size": 3},
    "data2vec-text": {},
    "deberta": RELATIVE,
    "deberta-v2": RELATIVE | {"norm_rel_ebd": "layer_norm", "share_att_key": True},
    "distilbert": {},
    "electra": {},
    "ernie": {},
    "eurobert": {},
    "flaubert": {},
    "fnet": {},
    "funnel": {"block_sizes": [1, 1], "d_head": 16},
    "gte": {},
    "ibert": {},
    "jina_embeddings_v3": {},
    "layoutlm": {},
    "lilt": {},
    "longformer": {"attention_window": [8, 8]},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 16},
    "markuplm": {},
    "megatron-bert": {},
    "mobilebert": {"true_hidden_size": 16, "intra_bottleneck_size": 16},
    "modernbert": {"local_attention": 8},
    "mpnet": {"pad_token_id": 1},  # which its code takes for granted
    "mra": {},
    "nomic_bert": {},
    "nystromformer": {},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "roberta": {},
    "roberta-prelayernorm": {},
    "roc_bert": {"enable_pronunciation": False, "enable_shape": False},
    "roformer": {},
    "squeezebert": {},
    "xlm": {},
    "xlm-roberta": {},
    "xlm-roberta-xl": {},
    "xlnet": {},
    "xmod": {"languages": ["en"], "default_language": "en"},
    "yoso": {},
    # Not encoders, but classifiers of texts all the same.
    "bart": {"encoder_layers": 2, "decoder_layers": 2, "d_model": 32},
    "gpt2": {},
    "llama": {},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
}
# So that what trains or calibrates is over soon.
QUICK = {"rows": 16, "max_steps": 2, "batch_size": 8}
WORKS = "works"


def model_folder(family: str, folder: Path) -> Path:
    """A tiny random model with a WordPiece tokenizer, as somebody would bring it."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

    from tests.families import word_pieces

    tokenizer = word_pieces()
    known = AutoConfig.for_model(family)
    sizes = {name: value for name, value in SIZES.items() if hasattr(known, name)}
    sizes |= {"vocab_size": len(tokenizer)} if hasattr(known, "vocab_size") else {}
    config = AutoConfig.for_model(family, **sizes | FAMILIES[family])
    set_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ingredients_of(family: str, folder: Path) -> Ingredients:
    """What stage finetune leaves of it, with 24 training rows.

    Raises:
        UserError: it cannot be loaded or run.
    """
    rows = training_rows(24)
    source = str(model_folder(family, folder / "model"))
    model, tokenizer = load(resolve(source), TASK, 0)
    inputs = fit(family, model, tokenizer, TASK, rows.head(4))
    model.save_pretrained(folder / "finetuned")
    tokenizer.save_pretrained(folder / "finetuned")
    recipe = Recipe(
        task="mrpc", model="m", weights="pretrained", seed=0, max_length=32, inputs=inputs
    )
    write_json(folder / "finetuned" / RECIPE, recipe.model_dump())
    rows.to_parquet(folder / "train.parquet")
    return Ingredients(TASK, folder / "finetuned", folder / "train.parquet", folder / "learned")


def outcome(ingredients: Ingredients, variant: str, folder: Path) -> str:
    """WORKS, or in one line why not."""
    known = variants.get(variant).params.model_fields
    settings = {name: value for name, value in QUICK.items() if name in known}
    try:
        manifest = read_manifest(build(variant, ingredients, folder, **settings))
    except UserError as refused:
        return f"refused: {refused}"
    return f"skipped: {manifest.skipped}" if manifest.skipped else WORKS


def outcomes(family: str, names: list[str]) -> dict[str, str]:
    """By variant; of a family that cannot be run at all one line, under `fp32`."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            ingredients = ingredients_of(family, folder)
        except UserError as refused:
            return {variants.REFERENCE: f"refused: {refused}".replace(temporary, "")}
        return {name: outcome(ingredients, name, folder / name) for name in names}


def main(*families: str) -> None:
    known = read_json(RESULTS) if RESULTS.exists() else {}
    for family in families or FAMILIES:
        known[family] = outcomes(family, variants.names())
        working = [name for name, what in known[family].items() if what == WORKS]
        print(f"{family}: {len(working)} of {len(known[family])} work", flush=True)
        for name, what in known[family].items():
            if what != WORKS:
                print(f"  {name}: {what}", flush=True)
        write_json(RESULTS, {name: known[name] for name in FAMILIES if name in known})


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main(*sys.argv[1:])
