"""Multi-Genre Natural Language Inference: does a sentence follow? (Williams et al., 2018)

`validation` and `test` are the matched ones: the genres of train.
"""

from stages.dataset.task import Task
from stages.sources import glue
from stages.sources.glue_tsv import Layout

TASK = Task(
    name="mnli",
    text_columns=("premise", "hypothesis"),
    labels=("entailment", "neutral", "contradiction"),
    metrics=("accuracy",),
    licence="OANC's for most of it, Creative Commons for some fiction: see the paper, section 2.1",
    description="GLUE MNLI: does a premise entail a hypothesis, contradict it, or neither?",
)
LAYOUT = Layout(
    files={
        "train": "train.tsv",
        "validation": "dev_matched.tsv",
        "validation_mismatched": "dev_mismatched.tsv",
        "test": "test_matched.tsv",
        "test_mismatched": "test_mismatched.tsv",
    },
    headers={"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"},
    without_label={"-": "the annotators did not agree on a label"},
)
HUB_SPLITS = {
    "train": "train",
    "validation": "validation_matched",
    "validation_mismatched": "validation_mismatched",
    "test": "test_matched",
    "test_mismatched": "test_mismatched",
}
DATASET = glue.dataset(
    TASK,
    glue.zipped(TASK, "MNLI", "MNLI.zip", LAYOUT, HUB_SPLITS),
    published={
        "train": (392_702,),
        "validation": (9815,),
        "validation_mismatched": (9832,),
        "test": (9796,),
        "test_mismatched": (9847,),
    },
)
