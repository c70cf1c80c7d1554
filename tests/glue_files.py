"""Small GLUE and IMDB corpora in the official layouts, with the traps that the real ones have.

The same rows can be had as a mirror folder, as the official zip and as the hub's parquet files.
mrpc has files of its own, see tests/conftest.py.
"""

import io
import random
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages import tasks
from stages.dataset.dataset import Fetched
from tests.conftest import WORDS

ROWS = {"train": 20, "dev": 10, "test": 6}
FOLDERS = {"cola": "CoLA", "sst2": "SST-2", "stsb": "STS-B", "qqp": "QQP"}
ARCHIVES = {"qqp": "QQP-clean.zip", "qnli": "QNLIv2.zip"}
NLI = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
NLI += "sentence1_parse\tsentence2_parse\tsentence1\tsentence2"
PAIR = "index\tsentence1\tsentence2"
STSB = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2"
HEADERS = {  # of train, dev and test; CoLA's labelled files have none
    "cola": ("", "", "index\tsentence"),
    "sst2": ("sentence\tlabel", "sentence\tlabel", "index\tsentence"),
    "stsb": (f"{STSB}\tscore", f"{STSB}\tscore", STSB),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "id\tquestion1\tquestion2",
    ),
    "mnli": (
        f"{NLI}\tlabel1\tgold_label",
        f"{NLI}\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label",
        NLI,
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel",
        "index\tquestion\tsentence\tlabel",
        "index\tquestion\tsentence",
    ),
    "rte": (f"{PAIR}\tlabel", f"{PAIR}\tlabel", PAIR),
    "wnli": (f"{PAIR}\tlabel", f"{PAIR}\tlabel", PAIR),
}
GLUE = sorted(HEADERS)
# Lines that belong to no row, after the third row of each labelled file.
LEFT_OUT = {
    "qqp": ["364011\t490273\t490274\tDoes the text", '"\tWas it a figure?\t0'],  # one row, torn
    "mnli": ["\t".join(["9", *"abcdefg", "A premise .", "A hypothesis .", "neutral", "-"])],
}


@dataclass(frozen=True)
class Row:
    texts: tuple[str, ...]
    label: float


def splits_of(task: str) -> dict[str, str]:
    """Our split name -> the stem of the mirror's file."""
    if task == "mnli":
        files = ("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched")
        ours = ("train", "validation", "validation_mismatched", "test", "test_mismatched")
        return dict(zip(ours, files, strict=True))
    return {"train": "train", "validation": "dev", "test": "test"}


def make_rows(task: str, split: str, n: int) -> list[Row]:
    """Rows from whose texts the label can be learned; a score says how many words are shared."""
    definition = tasks.dataset(task, {}).task
    random_ = random.Random(f"{task} {split}")
    top = 5.0 if definition.regression else len(definition.labels) - 1
    rows = []
    for i in range(n):
        label = min(5.0, round(i * 1.3 % 5.1, 3)) if definition.regression else i % int(top + 1)
        words = random_.choices(WORDS, k=8)
        if len(definition.text_columns) == 1:
            texts = [" ".join(random_.choices(WORDS[int(label) :: 2], k=8))]
        else:
            shared = round(8 * label / top)
            texts = [
                " ".join(words),
                " ".join(words[:shared] + random_.choices(WORDS, k=9)[shared:]),
            ]
        if i % 5 == 1:
            texts[0] = f'"{texts[0]}'  # a quote that nothing closes
        if i % 5 == 2:
            texts[-1] = f"{texts[-1]} caf\u00e9\u2028two\u0085three"  # no line ends
        if task == "sst2":
            texts[0] += " "
        rows.append(Row(tuple(texts), label))
    return rows


def write_mirror(
    folder: Path,
    task: str,
    rows: Mapping[str, int] | None = ROWS,
    newline: str = "\n",
    bom: str = "",
) -> Path:
    """Add one task to the mirror `folder`; returns `folder`.

    Args:
        rows: usable rows of `train`, `dev` and `test`; None: as many as were published.
    """
    if task == "imdb":
        return write_imdb(folder, rows)
    inner = folder / FOLDERS.get(task, task.upper())
    inner.mkdir(parents=True)
    for split, stem in splits_of(task).items():
        kind = ("train", "dev", "test").index(stem.split("_")[0])
        lines = [HEADERS[task][kind]] if HEADERS[task][kind] else []
        for i, row in enumerate(make_rows(task, split, count(task, split, rows))):
            if i == 3 and kind < 2:
                # A development file of MNLI has a label of each of five annotators.
                five = "neutral\t" * (5 if kind else 1)
                lines += [line.replace("neutral\t", five) for line in LEFT_OUT.get(task, [])]
            lines.append("\t".join(cells(task, kind, i, row)))
        text = bom + newline.join(lines) + newline
        (inner / f"{stem}.tsv").write_bytes(text.encode("utf-8"))
    return folder


def cells(task: str, kind: int, i: int, row: Row) -> list[str]:
    """One line of train (kind 0), dev (1) or test (2)."""
    definition = tasks.dataset(task, {}).task
    if task == "stsb":
        label = f"{row.label:.3f}"
    else:
        named = task in ("mnli", "qnli", "rte")
        label = definition.labels[int(row.label)] if named else str(int(row.label))
    if task == "cola" and kind < 2:
        return ["gj04", label, "" if row.label else "*", *row.texts]
    if task == "sst2" and kind < 2:
        return [*row.texts, label]
    before = {
        "stsb": ["main-news", "headlines", "2015", f"{i:04}", "none", "none"],
        "mnli": ["31193", "31193n", "slate", "( a b )", "( a b )", "(ROOT (S a))", "(ROOT (S b))"],
        "qqp": [str(2 * i), str(2 * i + 1)] if kind < 2 else [],
    }
    line = [str(i), *before.get(task, []), *row.texts]
    if kind == 2:
        return line
    annotators = {("mnli", 0): 1, ("mnli", 1): 5}.get((task, kind), 0)
    return [*line, *[label] * annotators, label]


def write_imdb(folder: Path, rows: Mapping[str, int] | None = ROWS) -> Path:
    """The original layout: one file per review, and files that are none."""
    for split in ("train", "test"):
        for i, row in enumerate(make_rows("imdb", split, count("imdb", split, rows))):
            name = f"{i}_{9 if row.label else 2}.txt"
            path = folder / "aclImdb" / split / ("pos" if row.label else "neg") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row.texts[0].replace(" ", "<br /><br />", 1).encode())
        (folder / "aclImdb" / split / "labeledBow.feat").write_text("9 0:9 1:1\n")
    return folder


def count(task: str, split: str, rows: Mapping[str, int] | None) -> int:
    if rows is not None:
        return rows[{"validation": "dev"}.get(split.split("_")[0], split.split("_")[0])]
    published = tasks.dataset(task, {}).published
    if task == "imdb" and split == "train":
        return sum(published["train"]) + sum(published["validation"])
    return sum(published[split])


def site_zip(folder: Path, task: str) -> bytes:
    """The official zip of what `write_mirror` wrote, with the other things that are in it."""
    name = FOLDERS.get(task, task.upper())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/", "")
        archive.writestr(f"{name}/original/train.tsv", "not this one")
        archive.writestr(f"__MACOSX/{name}/._train.tsv", b"\0\5\26\7")
        archive.writestr("../evil.tsv", "outside")
        archive.writestr(f"{name}/../../evil.tsv", "outside")
        for path in sorted((folder / name).iterdir()):
            archive.write(path, f"{name}/{path.name}")
    return buffer.getvalue()


def site_path(task: str) -> str:
    return f"/glue/data/{ARCHIVES.get(task, FOLDERS.get(task, task.upper()) + '.zip')}"


def hub_files(task: str, rows: Mapping[str, int] | None = ROWS) -> dict[str, bytes]:
    """Path on the hub -> parquet, as the hub has it: no label is -1, a score is a float32."""
    definition = tasks.dataset(task, {}).task
    names = {"validation": "validation_matched", "test": "test_matched"} if task == "mnli" else {}
    where = "nyu-mll/glue/resolve/main/" + task
    if task == "imdb":
        where = "stanfordnlp/imdb/resolve/main/plain_text"
    files = {}
    for split in splits_of(task) if task != "imdb" else ("train", "test"):
        made = make_rows(task, split, count(task, split, rows))
        columns = zip(*(row.texts for row in made), strict=True)
        table = pd.DataFrame(dict(zip(definition.text_columns, columns, strict=True)))
        table["label"] = [row.label for row in made]
        if task == "imdb":
            table["text"] = table["text"].str.replace(" ", "<br /><br />", n=1)
        else:
            skipped = 0 if split.startswith("test") else len(LEFT_OUT.get(task, []))
            table["idx"] = [i + skipped * (i >= 3) for i in range(len(made))]
            if split.startswith("test"):
                table["label"] = -1.0 if definition.regression else -1
        table = table.astype({"label": "float32" if definition.regression else "int64"})
        buffer = io.BytesIO()
        table.to_parquet(buffer)
        files[f"/datasets/{where}/{names.get(split, split)}-00000-of-00001.parquet"] = (
            buffer.getvalue()
        )
    return files


def tables(fetched: Fetched) -> dict[str, pd.DataFrame]:
    """The splits of a source that gives whole tables."""
    found = {name: rows for name, rows in fetched.splits.items() if isinstance(rows, pd.DataFrame)}
    assert len(found) == len(fetched.splits)
    return found
