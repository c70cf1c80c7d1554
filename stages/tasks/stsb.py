"""Semantic Textual Similarity Benchmark: how alike are two sentences, 0 to 5? (Cer et al., 2017)"""

from stages.dataset.task import Task
from stages.sources import glue
from stages.sources.glue_tsv import Layout

TASK = Task(
    name="stsb",
    text_columns=("sentence1", "sentence2"),
    labels=(),
    metrics=("pearson", "spearman"),
    licence="each source has its own, most of them CC BY-SA 4.0: see LICENSE.txt of STSbenchmark",
    description="GLUE STS-B: how similar in meaning are two sentences, from 0 to 5?",
)
DATASET = glue.dataset(
    TASK,
    glue.zipped(TASK, "STS-B", "STS-B.zip", Layout(headers={"label": "score"})),
    published={"train": (5749,), "validation": (1500,), "test": (1379,)},
)
