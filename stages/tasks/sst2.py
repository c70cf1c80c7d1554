"""Stanford Sentiment Treebank: is a phrase of a film review positive? (Socher et al., 2013)"""

from stages.dataset.task import Task
from stages.sources import glue
from stages.sources.glue_tsv import Layout

TASK = Task(
    name="sst2",
    text_columns=("sentence",),
    labels=("negative", "positive"),
    metrics=("accuracy",),
    licence="none stated by its authors; excerpts of published reviews",
    description="GLUE SST-2: is a phrase of a film review negative or positive?",
)
DATASET = glue.dataset(
    TASK,
    glue.zipped(TASK, "SST-2", "SST-2.zip", Layout()),
    published={"train": (67349,), "validation": (872,), "test": (1821,)},
)
