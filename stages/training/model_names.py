"""A model's name in params.yaml -> where its weights and tokenizer are. Imports nothing slow."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from stages.plumbing.command import UserError, nearest
from stages.plumbing.json_file import read_json
from stages.plumbing.manifest import check_links
from stages.plumbing.paths import of_user
from stages.sources.model_hub import WEIGHTS, fetch_model
from stages.sources.packaged import packaged

MINILM = "minilm-l6"
# Becomes an address and a folder of the hub's cache.
HUB_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*", re.ASCII)

# Models that need no hub, as they differ from the defaults of transformers.BertConfig.
ARCHITECTURES: dict[str, dict[str, float]] = {
    "random:bert-base-uncased": {},
    "random:minilm-l6": {
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "intermediate_size": 1536,
    },
    "random:bert-base-chinese": {"vocab_size": 21128},
    "scratch:char-bert": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    "scratch:piece-bert": {
        "vocab_size": 12000,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 512,
        "hidden_dropout_prob": 0.3,
    },
}
# These get a vocabulary from the training texts, the others MiniLM's.
OF_PIECES = ("scratch:piece-bert",)
OF_CHARACTERS = ("random:bert-base-chinese", "scratch:char-bert")


@dataclass(frozen=True)
class Pretrained:
    """What `finetune` starts from.

    Attributes:
        name: in params.yaml.
        location: folder of the weights; for random weights, of the configuration.
        tokenizer: folder of the tokenizer; empty: characters of the training texts.
        weights: `pretrained`; `random`, which means nothing; or `scratch`, random but meant to be
            trained. Every metric of the model says which.
        architecture: set for the models in ARCHITECTURES, which have no folder.
        described: what outputs call it, where its name does not say all.
    """

    name: str
    location: str
    tokenizer: str
    weights: str = "pretrained"
    architecture: dict[str, float] | None = None
    described: str = ""


def resolve(name: str, with_weights: bool = True) -> Pretrained:
    """Find the model that params.yaml names.

    Args:
        name: of a packaged model (stages/sources/packaged/), a name in ARCHITECTURES,
            `random:<model>`, a local folder, or a hub id.
        with_weights: False saves the download of a hub's weights.

    Raises:
        UserError: a folder without configuration or tokenizer, an unknown name, or the hub does not
            give the model.
    """
    if name in ARCHITECTURES:
        own = name in (*OF_PIECES, *OF_CHARACTERS)
        tokenizer = "" if own else str(packaged()[MINILM].folder())
        return Pretrained(name, "", tokenizer, name.split(":")[0], ARCHITECTURES[name])
    if name.startswith("random:"):
        architecture = resolve(name.removeprefix("random:"), with_weights=False)
        described = f"random:{architecture.described}" if architecture.described else ""
        return replace(architecture, name=name, weights="random", described=described)
    if model := packaged().get(name):
        unpacked = str(model.folder())
        return Pretrained(name, unpacked, unpacked, described=model.described)
    folder = of_user(name)
    if name.strip() and folder.is_dir():
        check_folder(folder, with_weights)
        # Where it lies is this machine's own business.
        return Pretrained(name, str(folder), str(folder), described=folder.resolve().name)
    if name.startswith((".", "/", "~", "$")):
        raise UserError(
            f"the model folder '{name}' does not exist (~ and $VARIABLES are expanded); give a "
            "folder or a hub id"
        )
    if not HUB_ID.fullmatch(name):
        known = [*packaged(), *ARCHITECTURES, "random:<model>"]
        raise UserError(f"unknown model '{name}'; {nearest(name, known)}, a folder or a hub id")
    fetched = fetch_model(name, with_weights)
    return Pretrained(name, fetched, fetched)


ADAPTER = "adapter_config.json"
LFS = b"version https://git-lfs"


def check_folder(folder: Path, with_weights: bool = True) -> None:
    """Raises UserError where transformers could not load a model from it, for what is known.

    So for a link that leads out of it: whatever is there might ship as part of the tokenizer.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size < 1000 and path.read_bytes().startswith(LFS):
            raise UserError(
                f"{path} is a pointer of Git LFS, not the file itself; run 'git lfs pull' in the "
                "repository that it is from"
            )
    if (folder / ADAPTER).exists() and not (folder / "config.json").exists():
        base = read_json(folder / ADAPTER)
        raise UserError(
            f"the model folder '{folder}' is an adapter of PEFT to "
            f"{base.get('base_model_name_or_path') or 'another model'}; merge it with "
            "merge_and_unload() and save_pretrained, and name the folder that this gives"
        )
    if not (folder / "config.json").exists():
        raise UserError(f"the model folder '{folder}' has no config.json; save the model with it")
    if with_weights and not any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        raise UserError(
            f"the model folder '{folder}' has no weights ({' or '.join(WEIGHTS)}); save the model "
            f"with save_pretrained, or name it 'random:{folder}' to measure speed and size alone"
        )
    read_json(folder / "config.json")
    # In the hub's own cache a snapshot is made of links to files that lie side by side for all.
    snapshots = folder.resolve().parent
    check_links(folder, *([snapshots.with_name("blobs")] if snapshots.name == "snapshots" else []))
