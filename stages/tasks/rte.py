"""Recognizing Textual Entailment: does a text entail a sentence? (the challenges RTE1, 2, 3, 5)"""

from stages.dataset.task import Task
from stages.sources import glue
from stages.sources.glue_tsv import Layout

TASK = Task(
    name="rte",
    text_columns=("sentence1", "sentence2"),
    labels=("entailment", "not_entailment"),
    metrics=("accuracy",),
    licence="none stated by its authors; excerpts of news and Wikipedia",
    description="GLUE RTE: does a text entail a sentence?",
)
DATASET = glue.dataset(
    TASK,
    glue.zipped(TASK, "RTE", "RTE.zip", Layout()),
    published={"train": (2490,), "validation": (277,), "test": (3000,)},
)
