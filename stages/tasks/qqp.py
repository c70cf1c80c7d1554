"""Quora Question Pairs: do two questions ask the same? (Iyer et al., 2017)"""

from stages.dataset.task import Task
from stages.sources import glue
from stages.sources.glue_tsv import Layout

TASK = Task(
    name="qqp",
    text_columns=("question1", "question2"),
    labels=("not_duplicate", "duplicate"),
    metrics=("f1", "accuracy"),
    licence="Quora's terms of service: non-commercial use",
    description="GLUE QQP: are two questions duplicates of each other?",
)
# A line break within a question tore some rows in two. GLUE's own readers skip both halves.
TORN = "damaged in the published file: cells are missing"
LAYOUT = Layout(headers={"label": "is_duplicate"}, short_rows=TORN, without_label={"": TORN})
DATASET = glue.dataset(
    TASK,
    glue.zipped(TASK, "QQP", "QQP-clean.zip", LAYOUT),
    published={"train": (363_846,), "validation": (40_430,), "test": (390_965,)},
    tolerance=0.001,  # older mirrors have slightly other totals
)
