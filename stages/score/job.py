"""What is to be done: a corpus, a model, and which columns come out. Whoever has it can do a block.

Blocks are computed one by one, each the same whoever does it: the process that does it all, one of
several, or an actor on another machine.
"""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.running.shipped import predict
from stages.score.corpus import Block, Corpus, texts_of
from stages.score.rows import Damaged, Fault, Reader
from stages.score.scorer import Scorer

# In the metadata of what comes out.
MANIFEST_SHA256, MODEL, JOB = b"model_manifest_sha256", b"model", b"score_job"
LABEL, SCORE, PROBABILITY = "label", "score", "probability"
# What is counted.
ROWS, EMPTY, NULL, CUT, BAD = "rows", "empty", "null", "cut", "bad"


@dataclass(frozen=True)
class Job:
    """Attributes:
    export: folder of the model.
    manifest_sha256: of its manifest.json.
    model: task and variant.
    labels: of the model, none of a regression.
    max_length: tokens that it reads of a text.
    probabilities: whether those of each class come out.
    prefix: of the names of the columns that are added.
    block_rows: most that a block has.
    """

    corpus: Corpus
    export: Path
    manifest_sha256: str
    model: str
    labels: tuple[str, ...]
    max_length: int
    probabilities: bool
    prefix: str
    block_rows: int

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides what comes out; where the files lie does not."""
        corpus = self.corpus
        return {
            "files": [[file.name, file.size, file.version] for file in corpus.files],
            "dialect": asdict(corpus.dialect),
            "texts": list(corpus.texts),
            "columns": [f"{name}: {corpus.schema.field(name).type}" for name in corpus.kept],
            "manifest_sha256": self.manifest_sha256,
            "probabilities": self.probabilities,
            "prefix": self.prefix,
            "block_rows": self.block_rows,
        }

    @property
    def identity(self) -> str:
        return hashlib.sha256(json.dumps(self.facts).encode()).hexdigest()

    @property
    def added(self) -> pa.Schema:
        """The columns that are added."""
        if not self.labels:
            return pa.schema([(self.prefix + SCORE, pa.float32())])
        names = [f"{self.prefix}{PROBABILITY}_{label}" for label in self.labels]
        shares = [(name, pa.float32()) for name in names if self.probabilities]
        return pa.schema([(self.prefix + LABEL, pa.string()), *shares])

    @property
    def schema(self) -> pa.Schema:
        """What comes out, with the model and the job that it comes from."""
        kept = [self.corpus.schema.field(name) for name in self.corpus.kept]
        facts = {MANIFEST_SHA256: self.manifest_sha256, MODEL: self.model, JOB: self.identity}
        return pa.schema([*kept, *self.added], metadata=facts)


class Scored(NamedTuple):
    """A block that was done, or could not be.

    Attributes:
        rows: of the block, bad ones included.
        parquet: a file of its good rows, which `read_scored` reads.
        fault: the first bad row, one line; "" where all are good.
        trouble: why the block could not be done, one line; "" where it was.
    """

    number: int
    rows: int
    parquet: bytes
    fault: str
    trouble: str


class Worker:
    """Does blocks of one job, one after the other, with the model loaded once."""

    def __init__(self, job: Job) -> None:
        """Nothing is loaded before there is a block to do."""
        self.job = job
        self.scorer: Scorer | None = None
        self.readers: dict[int, Reader] = {}

    def score(self, block: Block) -> Scored:
        file = self.job.corpus.files[block.file]
        try:
            return self.scored(block)
        except Damaged as error:
            trouble = f"{file.name}, in rows {block.span.row} and following: {error}"
        except predict.CannotLoad as error:
            trouble = str(error)
        except (OSError, ValueError) as error:
            trouble = f"{file.name}, in rows {block.span.row} and following: {error}"
        return Scored(block.number, block.span.rows, b"", "", trouble)

    def scored(self, block: Block) -> Scored:
        corpus = self.job.corpus
        if self.scorer is None:
            self.scorer = Scorer(self.job.export)
        if block.file not in self.readers:
            self.readers = {block.file: corpus.reader(block.file)}  # one is open at a time
        rows = self.readers[block.file].read(block.span, corpus.schema)
        texts = texts_of(rows.table, corpus.texts)
        given = [i for i, parts in enumerate(texts) if None not in parts]
        scored = [texts[i] if len(texts[i]) > 1 else texts[i][0] for i in given]
        logits = self.scorer.logits(scored)  # type: ignore[arg-type]
        counts = Counter(
            {
                EMPTY: sum(any(not part.strip() for part in texts[i]) for i in given),  # type: ignore[union-attr]
                NULL: len(texts) - len(given),
                CUT: logits.cut,
                BAD: len(rows.faults),
            }
        )
        answers = answered(self.job, self.scorer, logits.values, given, len(texts))
        kept = [rows.table.column(name) for name in corpus.kept]
        table = pa.table([*kept, *answers], self.job.schema)
        fault = one_line(corpus.files[block.file].name, rows.faults[0]) if rows.faults else ""
        return Scored(
            block.number,
            block.span.rows,
            written(table, dict(counts), rows.faults, corpus.files[block.file].address),
            fault,
            "",
        )


def answered(
    job: Job, scorer: Scorer, logits: np.ndarray, given: list[int], rows: int
) -> list[pa.Array]:
    """The columns of `job.added`; null where a row has no text.

    Args:
        given: which of the rows the logits are of.
    """
    missing = np.ones(rows, bool)
    missing[given] = False

    def spread(values: np.ndarray) -> pa.Array:
        full = np.zeros(rows, values.dtype)
        full[given] = values
        return pa.array(full, mask=missing)

    if not job.labels:
        return [spread(logits[:, 0])]
    names = pa.array(job.labels, pa.string())
    labels = names.take(spread(logits.argmax(1)))
    if not job.probabilities:
        return [labels]
    return [labels, *map(spread, scorer.shares(logits).T)]


def one_line(file: str, fault: Fault) -> str:
    return f"{file} row {fault.row}: {fault.reason}"


def written(table: pa.Table, counts: dict[str, int], faults: list[Fault], address: str) -> bytes:
    """A Parquet file that also holds what was counted, and the bad rows with their file."""
    bad = [{"file": address, **fault._asdict()} for fault in faults]
    facts = {b"counts": json.dumps(counts), b"faults": json.dumps(bad)}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(facts), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


class Kept(NamedTuple):
    """What `written` wrote."""

    table: pa.Table
    counts: Counter[str]
    faults: list[dict[str, Any]]


def read_scored(file: Path, schema: pa.Schema) -> Kept:
    table = pq.read_table(file)
    facts = table.schema.metadata
    counts = Counter(json.loads(facts[b"counts"]))
    return Kept(pa.table(table.columns, schema), counts, json.loads(facts[b"faults"]))
