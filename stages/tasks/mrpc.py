"""Microsoft Research Paraphrase Corpus: do two sentences mean the same? (Dolan & Brockett, 2005)"""

from functools import partial
from pathlib import Path

import pandas as pd

from stages.plumbing.command import UserError
from stages.sources import Unavailable, glue
from stages.tasks import UNLABELLED, Dataset, Task

LABELS = ("not_equivalent", "equivalent")
TRAIN, TEST, DEV_IDS = "msr_paraphrase_train.txt", "msr_paraphrase_test.txt", "dev_ids.tsv"
LABELLED_HEADER = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
UNLABELLED_HEADER = ["index", *LABELLED_HEADER[1:]]


def parse(folder: Path) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Read the raw corpus, or the three files that the tutorial's download script makes of it."""
    if all((folder / name).exists() for name in (TRAIN, TEST, DEV_IDS)):
        rows = read_pairs(folder / TRAIN)
        development = {tuple(cells) for cells in read_cells(folder / DEV_IDS, 2)}
        in_validation = rows["id"].map(lambda pair: tuple(pair.split("-")) in development)
        splits = {
            "train": rows[~in_validation].reset_index(drop=True),
            "validation": rows[in_validation].reset_index(drop=True),
            "test": read_pairs(folder / TEST),
        }
        return splits, [TRAIN, TEST, DEV_IDS]
    files = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
    if all((folder / name).exists() for name in files.values()):
        splits = {split: read_pairs(folder / name) for split, name in files.items()}
        return splits, list(files.values())
    raise Unavailable(
        f"neither layout found; expected {TRAIN}, {TEST} and {DEV_IDS}, or train.tsv, dev.tsv and "
        f"test.tsv; the folder holds {sorted(path.name for path in folder.iterdir())[:6]}"
    )


def read_cells(path: Path, columns: int) -> list[list[str]]:
    """Cells of a tab-separated file. Quotes mean nothing in it, so the csv module would misread."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is not UTF-8 ({error}); get it anew") from None
    # Not str.splitlines: it would also break at characters that occur inside sentences.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    table = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        cells = line.split("\t")
        if len(cells) != columns:
            raise UserError(
                f"{path.name} line {number} has {len(cells)} tab-separated cells instead of "
                f"{columns}; the file is damaged or cut off, get it anew"
            )
        table.append(cells)
    return table


def read_pairs(path: Path) -> pd.DataFrame:
    table = read_cells(path, 5)
    header, rows = (table[0], table[1:]) if table else ([], [])
    if header not in (LABELLED_HEADER, UNLABELLED_HEADER):
        raise UserError(f"{path.name} starts with {header} instead of {LABELLED_HEADER}")
    labelled = header == LABELLED_HEADER
    for number, cells in enumerate(rows, start=2):
        if labelled and cells[0] not in ("0", "1"):
            raise UserError(
                f"{path.name} row {number}: label '{cells[0]}' is outside the task's range; "
                "MRPC has 0 (not equivalent) and 1 (equivalent)"
            )
    return pd.DataFrame(
        {
            "id": [f"{cells[1]}-{cells[2]}" for cells in rows],
            "sentence1": [cells[3] for cells in rows],
            "sentence2": [cells[4] for cells in rows],
            "label": [int(cells[0]) if labelled else UNLABELLED for cells in rows],
        }
    )


FILES = glue.GlueFiles(
    folder="MRPC",
    hub_config="mrpc",
    hub_splits={"train": "train", "validation": "validation", "test": "test"},
    columns={"idx": "id", "sentence1": "sentence1", "sentence2": "sentence2", "label": "label"},
    site={
        TRAIN: "https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_train.txt",
        TEST: "https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_test.txt",
        DEV_IDS: "https://dl.fbaipublicfiles.com/glue/data/mrpc_dev_ids.tsv",
    },
    parse=parse,
    check=lambda splits, settings: DATASET.check(splits, settings),
)

DATASET: Dataset = Dataset(
    Task(
        name="mrpc",
        text_columns=("sentence1", "sentence2"),
        labels=LABELS,
        metrics=("f1", "accuracy"),
        licence="Microsoft Research Shared Source License: non-commercial use, no redistribution",
        description="GLUE MRPC: are two sentences paraphrases of each other?",
    ),
    fetch=partial(glue.fetch, FILES),
    reachable=partial(glue.reachable, FILES),
    published={"train": (1194, 2474), "validation": (129, 279), "test": (578, 1147)},
)
