"""Winograd NLI: what does a pronoun stand for? (Levesque et al., 2012)

Its validation sentences repeat train's with the other answer, so that the small models of this
project seldom reach the constant answer there (see GLUE's FAQ).
"""

from stages.dataset.task import Task
from stages.sources import glue
from stages.sources.glue_tsv import Layout

TASK = Task(
    name="wnli",
    text_columns=("sentence1", "sentence2"),
    labels=("not_entailment", "entailment"),
    metrics=("accuracy",),
    licence="CC BY 4.0 (Winograd Schema Challenge)",
    description="GLUE WNLI: does a sentence with its pronoun resolved follow from the original?",
)
DATASET = glue.dataset(
    TASK,
    glue.zipped(TASK, "WNLI", "WNLI.zip", Layout()),
    published={"train": (635,), "validation": (71,), "test": (146,)},
)
