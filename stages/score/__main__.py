"""`python -m stages.score IN OUT --model exports/<task>`: Parquet with a label for each row."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stages.plumbing.command import UserError, nearest, run_stage
from stages.plumbing.cpu_share import all_threads
from stages.plumbing.files import sha256
from stages.plumbing.paths import of_user
from stages.running.shipped import predict
from stages.score.corpus import Corpus, corpus_of
from stages.score.corpus_files import CorpusFile, corpus_files
from stages.score.delimited import Dialect
from stages.score.engine import Engine
from stages.score.in_processes import in_processes
from stages.score.job import BAD, CUT, EMPTY, NULL, ROWS, Job
from stages.score.job_folder import JobFolder, is_whole, job_folder, remove
from stages.score.results import assemble, bad_row, skipped_file
from stages.score.rows import BLOCK_ROWS

LOCAL, RAY = "local", "ray"
STOP, SKIP = "stop", "skip"


def score(
    corpus: str,
    out: str,
    *,
    model: str,
    text: str = "",
    columns: str = "",
    probabilities: bool = False,
    prefix: str = "",
    on_error: str = STOP,
    engine: str = LOCAL,
    address: str = "",
    workers: str = "",
    encoding: str = "utf-8",
    delimiter: str = "",
    quote: str = '"',
    block_rows: str = str(BLOCK_ROWS),
) -> None:
    """Label every row of a corpus with an exported model. The same command goes on after a kill.

    Args:
        corpus: a file, a folder, a glob or an address (s3://...) of CSV, TSV, JSON lines, Parquet.
        out: a .parquet file, or a folder for several of them.
        model: the folder of an export.
        text: column of the texts, or the two of a pair with a comma between, if other than in the
            model's task.
        columns: those to keep, with commas between; all.
        probabilities: of each class, in columns of their own.
        prefix: of the names of the columns that are added.
        on_error: `skip` leaves bad rows out, into a file beside `out`; `stop`.
        engine: `ray` on Ray Data (requirements-ray.txt); `local`.
        address: of a Ray cluster.
        workers: processes; one a core.
        encoding, delimiter, quote: of CSV and TSV, see docs/how_to.md.
        block_rows: that are sorted by length and done together.

    Raises:
        UserError: something cannot be read, or a row is bad.
    """
    for name, given in (("OUT", out), ("--model", model)):
        if not given or "://" in given:
            raise UserError(f"{name} is '{given}'; name a place on this machine")
    target, export = of_user(out), of_user(model)
    one_of("--engine", engine, (LOCAL, RAY))
    one_of("--on-error", on_error, (STOP, SKIP))
    processes = number("--workers", workers or str(all_threads()))
    do = engine_of(engine, address)
    manifest = checked_export(export)
    asked = split(columns) or None
    dialect = dialect_of(encoding, delimiter, quote)
    files = corpus_files(corpus)
    check_apart(files, target, corpus)
    found = corpus_of(files, split(text) or manifest["columns"], asked, dialect)
    if len(found.texts) != len(manifest["columns"]):
        wanted = " and ".join(manifest["columns"])
        raise UserError(f"--text names {len(found.texts)} columns; this model reads {wanted}")
    job = Job(
        corpus=found,
        export=export.absolute(),
        manifest_sha256=sha256(export / predict.MANIFEST),
        model=f"{manifest['task']}, {manifest['variant']}",
        labels=tuple(manifest["labels"]),
        max_length=manifest["max_length"],
        probabilities=probabilities,
        prefix=prefix,
        block_rows=number("--block-rows", block_rows),
    )
    check_names(job)
    if is_whole(target, job):
        remove(target)
        print(f"{out} holds all of it already; nothing to do")
        return
    try:
        with job_folder(target, job) as folder:
            do_blocks(job, folder, do, processes, on_error == SKIP)
            check_unchanged(found)
            counts = assemble(folder, job, target, on_error == SKIP)
    except KeyboardInterrupt:
        raise UserError("stopped; the same command goes on where it was") from None
    remove(target)
    tell(job, target, counts)


def number(option: str, given: str) -> int:
    """Raises UserError: not a whole number, at least 1."""
    if not given.isdecimal() or int(given) < 1:
        raise UserError(f"{option} is '{given}'; give a whole number, at least 1")
    return int(given)


def one_of(option: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise UserError(f"{option} is '{given}'; {nearest(given, list(known))}")


def split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def checked_export(export: Path) -> Any:
    """Its manifest. Raises UserError: no export, not a whole one, or one without predict.py."""
    try:
        manifest = predict.read_manifest(export)
        if not manifest.get("predict"):
            raise UserError(
                f"{export} has no predict.py, because its tokenizer needs transformers; such a "
                "model cannot be run by this command"
            )
        predict.check(export)
    except predict.CannotLoad as error:
        raise UserError(str(error)) from None
    return manifest


def dialect_of(encoding: str, delimiter: str, quote: str) -> Dialect:
    """Raises UserError: no such encoding, or one that lines cannot be found in."""
    try:
        fits = '\n",\t'.encode(encoding) == b'\n",\t'
    except LookupError:
        fits = False
    if not fits:
        raise UserError(
            f"--encoding is '{encoding}'; take utf-8, gbk, gb18030, cp1252 or latin-1, or save "
            "the file anew as one of these"
        )
    delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    quote = "" if quote == "none" else quote
    for option, character in (("--delimiter", delimiter), ("--quote", quote)):
        if character and (len(character) > 1 or character in "\r\n" or not character.isascii()):
            raise UserError(f"{option} is {character!r}; give one ASCII character")
    if delimiter and delimiter == quote:
        raise UserError(f"--delimiter and --quote are both {quote!r}; they must differ")
    return Dialect(encoding, delimiter, quote)


def check_apart(files: list[CorpusFile], out: Path, corpus: str) -> None:
    """Raises UserError where what is written would be read as a part of the corpus."""
    folder = of_user(corpus).absolute()
    if out.absolute() in [Path(file.address) for file in files] or (
        folder.is_dir() and out.absolute().is_relative_to(folder)
    ):
        raise UserError(f"{out} lies in the corpus itself; name a place beside it")


def check_names(job: Job) -> None:
    """Raises UserError where a column would be there twice."""
    if twice := set(job.added.names) & set(job.corpus.kept):
        raise UserError(
            f"the corpus has a column '{min(twice)}' itself; give ours another name with --prefix "
            "model_, or leave it out with --columns"
        )


def engine_of(name: str, address: str) -> Engine:
    """Raises UserError: Ray is not installed."""
    if name == LOCAL:
        if address:
            raise UserError(f"--address is '{address}', which is for --engine ray")
        return in_processes
    from stages.score.on_ray import on_ray

    return on_ray(address)


def do_blocks(job: Job, folder: JobFolder, engine: Engine, workers: int, skip: bool) -> None:
    """Raises UserError: a block cannot be done, or has a bad row that must not be skipped."""
    missing = folder.missing()
    rows = sum(block.span.rows for block in folder.blocks)
    left = sum(block.span.rows for block in missing)
    if left < rows:
        print(f"{rows - left:,} of {rows:,} rows are done already", flush=True)
    began = time.monotonic()
    with tqdm(
        total=rows, initial=rows - left, desc=job.model, unit=" texts", unit_scale=True
    ) as bar:
        for done in engine(job, missing, min(workers, max(len(missing), 1))):
            if done.trouble:
                raise UserError(done.trouble)
            if done.fault and not skip:
                raise UserError(bad_row(done.fault))
            folder.keep(done)
            bar.update(done.rows)
    if left:
        seconds = time.monotonic() - began
        print(f"{left:,} rows in {seconds:,.1f} s, {left / seconds:,.0f} texts per second")


def check_unchanged(corpus: Corpus) -> None:
    """Raises UserError where a file is another one than it was when its blocks were cut."""
    for file in corpus.files:
        if file.changed():
            raise UserError(
                f"{file.address} was changed while it was scored; remove what is done so far, "
                "OUT.partial, and begin anew"
            )


def tell(job: Job, out: Path, counts: Counter[str]) -> None:
    print(f"{out}: {counts[ROWS]:,} rows, from {job.model}")
    for kind, what in (
        (EMPTY, "with an empty text, scored as it is"),
        (NULL, "without a text (null), label null"),
        (CUT, f"longer than {job.max_length} tokens, cut there"),
        (BAD, f"bad, left out, in {skipped_file(out)}"),
    ):
        if counts[kind]:
            print(f"  {counts[kind]:,} rows {what}")


if __name__ == "__main__":
    run_stage(score)
