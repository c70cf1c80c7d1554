"""Question NLI: does a sentence answer a question? From SQuAD (Rajpurkar et al., 2016; Wang, 2019)

The files are those of version 2, which replaced the first in 2019.
"""

from stages.dataset.task import Task
from stages.sources import glue
from stages.sources.glue_tsv import Layout

TASK = Task(
    name="qnli",
    text_columns=("question", "sentence"),
    labels=("entailment", "not_entailment"),
    metrics=("accuracy",),
    licence="CC BY-SA 4.0 (SQuAD)",
    description="GLUE QNLI: does a sentence contain the answer to a question?",
)
DATASET = glue.dataset(
    TASK,
    glue.zipped(TASK, "QNLI", "QNLIv2.zip", Layout()),
    published={"train": (104_743,), "validation": (5463,), "test": (5463,)},
)
