"""Microsoft Research Paraphrase Corpus: do two sentences mean the same? (Dolan & Brockett, 2005)"""

from collections import Counter
from pathlib import Path

from stages.dataset.task import Task
from stages.sources import Unavailable, glue
from stages.sources.glue_tsv import (
    Layout,
    Parsed,
    check_width,
    read_cells,
    read_folder,
    read_split,
)

TRAIN, TEST, DEV_IDS = "msr_paraphrase_train.txt", "msr_paraphrase_test.txt", "dev_ids.tsv"
LAYOUT = Layout(
    headers={"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"},
    id_headers=("#1 ID", "#2 ID"),
)
TASK = Task(
    name="mrpc",
    text_columns=("sentence1", "sentence2"),
    labels=("not_equivalent", "equivalent"),
    metrics=("f1", "accuracy"),
    licence="Microsoft Research Shared Source License: non-commercial use, no redistribution",
    description="GLUE MRPC: are two sentences paraphrases of each other?",
)


def parse(folder: Path) -> Parsed:
    """Read the raw corpus, or the three files that the tutorial's download script makes of it."""
    if not all((folder / name).exists() for name in (TRAIN, TEST, DEV_IDS)):
        try:
            return read_folder(TASK, LAYOUT, folder)
        except Unavailable as error:
            raise Unavailable(
                f"neither layout found; expected {TRAIN}, {TEST} and {DEV_IDS}, or the tutorial's: "
                f"{error}"
            ) from None
    train, test = (
        read_split(TASK, LAYOUT, folder / name, False, Counter()) for name in (TRAIN, TEST)
    )
    development = set()
    for number, cells in read_cells(folder / DEV_IDS):
        check_width(folder / DEV_IDS, number, cells, 2)
        development.add("-".join(cells))
    in_validation = train["id"].isin(development)
    splits = {
        "train": train[~in_validation].reset_index(drop=True),
        "validation": train[in_validation].reset_index(drop=True),
        "test": test,
    }
    return Parsed(splits, [TRAIN, TEST, DEV_IDS])


FILES = glue.GlueFiles(
    folder="MRPC",
    hub=glue.hub_files(TASK),
    site={
        TRAIN: "https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_train.txt",
        TEST: "https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_test.txt",
        DEV_IDS: f"{glue.SITE}/mrpc_dev_ids.tsv",
    },
    parse=parse,
)
DATASET = glue.dataset(
    TASK,
    FILES,
    published={"train": (1194, 2474), "validation": (129, 279), "test": (578, 1147)},
)
