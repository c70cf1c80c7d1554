"""Corpus of Linguistic Acceptability: is a sentence good English? (Warstadt et al., 2019)"""

from stages.dataset.task import Task
from stages.sources import glue
from stages.sources.glue_tsv import Layout

TASK = Task(
    name="cola",
    text_columns=("sentence",),
    labels=("unacceptable", "acceptable"),
    metrics=("matthews",),
    licence="excerpts of published linguistics; copyright remains with their authors; for research",
    description="GLUE CoLA: is a sentence acceptable English?",
)
HEADER = ("source", "label", "star", "sentence")
LAYOUT = Layout(without_header={"train.tsv": HEADER, "dev.tsv": HEADER})
DATASET = glue.dataset(
    TASK,
    glue.zipped(TASK, "CoLA", "CoLA.zip", LAYOUT),
    published={"train": (8551,), "validation": (1043,), "test": (1063,)},
)
