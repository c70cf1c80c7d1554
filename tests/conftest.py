"""A tiny random BERT and a synthetic MRPC with the published counts: what every test runs on."""

import gc
import os
import random
import sys
from pathlib import Path

import pytest

WORDS = [a + b for a in ("ba", "co", "di", "fu", "le", "mo", "ra", "su") for b in "bdklmnrt"]
PUBLISHED = {"train": (1194, 2474), "validation": (129, 279), "test": (578, 1147)}
HEADER = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"

# Stages are started with `python`, which must be the interpreter of the tests.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# These models are so small that a second thread is slower, on a busy machine three times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# An export to ONNX makes millions of objects: looking through them less often saves a tenth.
gc.set_threshold(100_000, 50, 100)
# No test may depend on what a developer's machine has at hand.
for folder in ("GLUE_MIRROR", "IMDB_FOLDER", "SOUGOU_FOLDER"):
    os.environ.pop(folder, None)


def mrpc_lines(seed: int = 0) -> dict[str, list[str]]:
    """Rows of the raw corpus; paraphrases share their words, so that something can be learned."""
    random_ = random.Random(seed)
    number = 1000
    splits = {}
    for split, (negatives, positives) in PUBLISHED.items():
        rows = []
        for label in [0] * negatives + [1] * positives:
            first = random_.choices(WORDS, k=random_.randint(4, 12))
            second = random_.sample(first, len(first)) if label else random_.choices(WORDS, k=9)
            quote = '"' if random_.random() < 0.3 else ""  # unbalanced, as in the real corpus
            number += 2
            rows.append(
                f"{label}\t{number}\t{number + 1}\t{quote}{' '.join(first)}.\t{' '.join(second)}."
            )
        random_.shuffle(rows)
        splits[split] = rows
    return splits


def write_raw_corpus(folder: Path, newline: str = "\n", bom: str = "\ufeff") -> Path:
    """The layout of the original corpus, with its byte-order mark."""
    splits = mrpc_lines()
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "msr_paraphrase_train.txt": [HEADER, *splits["train"], *splits["validation"]],
        "msr_paraphrase_test.txt": [HEADER, *splits["test"]],
    }
    for name, lines in files.items():
        text = bom + newline.join(lines) + newline
        (folder / name).write_bytes(text.encode("utf-8"))
    ids = ["\t".join(row.split("\t")[1:3]) for row in splits["validation"]]
    (folder / "dev_ids.tsv").write_text("\n".join(ids))
    return folder


def write_tutorial_layout(folder: Path, rows_of: dict[str, int] | None = None) -> Path:
    """What the download script of PyTorch's tutorial leaves: test.tsv has no labels.

    Args:
        rows_of: so many of each split; all of them.
    """
    splits = mrpc_lines()
    if rows_of:
        splits = {split: splits[split][:number] for split, number in rows_of.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in (("train", "train"), ("dev", "validation")):
        (folder / f"{name}.tsv").write_text("\n".join([HEADER, *splits[split]]) + "\n")
    rows = ["\t".join(["0", *row.split("\t")[1:]]) for row in splits["test"]]
    header = HEADER.replace("Quality", "index")
    (folder / "test.tsv").write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.fixture(autouse=True, scope="module")
def short_collections() -> None:
    """What lives by now stays: libraries, mostly, through which no garbage collector need go."""
    gc.freeze()


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GLUE mirror that holds MRPC as the raw corpus."""
    folder = tmp_path_factory.mktemp("mirror")
    write_raw_corpus(folder / "MRPC")
    return folder


def write_tiny_bert(folder: Path, words: list[str] = WORDS, positions: int = 64) -> Path:
    """A real BERT of 2 layers with a WordPiece vocabulary, as a model folder."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, set_seed

    folder.mkdir()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", '"']
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(specials + words))
    tokenizer = BertTokenizerFast(vocab=str(vocabulary), model_max_length=positions)
    tokenizer.save_pretrained(folder)
    set_seed(0)
    config = BertConfig(
        vocab_size=len(specials) + len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("model") / "tiny-bert")
