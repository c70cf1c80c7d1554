"""One flipped bit in a file that a job reads: refused in one line, or of no effect at all."""

from collections.abc import Iterator
from pathlib import Path

from tests.faults.comparing import Reference, read_files
from tests.faults.events import Armed, Plan
from tests.faults.finding import Kind, Trial, Wrong
from tests.faults.jobs import PREDICT
from tests.faults.laboratory import Laboratory
from tests.faults.processes import Ended, Place

FAULT = "flipped bit"
# The user's own, of which nothing else can know what they were; params.yaml is fuzzed.
OF_USER = ("project/params.yaml", "project/mirror/", "project/tiny-bert/")


def flipped_bits(lab: Laboratory, references: list[Reference], number: int) -> Iterator[Trial]:
    """Seeded bits, of every file that a job reads about as many."""
    files = [(reference, path) for reference in references for path in read_by(reference, lab)]
    lab.random.shuffle(files)
    training = next(each for each in references if each.job.stage == "finetune")
    for turn in range(number):
        if turn % 20 == 19:
            yield of_a_checkpoint(lab, training)
        else:
            yield flipped_bit(lab, *files[turn % len(files)])


def read_by(reference: Reference, lab: Laboratory) -> list[str]:
    """Files that are there before the job runs, each once; below the place of a trial."""
    there = {f"project/{path}" for path in lab.before(reference.job, old=False)}
    there |= {f"cache/{path}" for path in read_files(lab.finished.cache)}
    found = dict.fromkeys(event.path for event in reference.events if event.only_read)
    return [path for path in found if path in there and not path.startswith(OF_USER)]


def flip(lab: Laboratory, file: Path) -> str:
    """One bit of it; which, in words."""
    content = bytearray(file.read_bytes())
    if not content:
        return "is empty"
    bit = lab.random.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    return f"bit {bit} of {8 * len(content)}"


def flipped_bit(lab: Laboratory, reference: Reference, path: str) -> Trial:
    with lab.place(reference.job) as place:
        point = f"{path}, {flip(lab, place.folder / path)}"
        damaged = path.removeprefix("project/") if path.startswith("project/") else ""
        ended = lab.run(reference.job, place)
        wrongs = judged(reference, ended, place, damaged, path)
    return Trial(FAULT, reference.job.name, point, tuple(wrongs))


def judged(
    reference: Reference, ended: Ended, place: Place, damaged: str, what: str
) -> list[Wrong]:
    """Args: damaged: the file below the project that rightly is another."""
    if ended.hung:
        return [Wrong(Kind.HANG, f"{what}: does not end")]
    if ended.code:
        if ended.refused(reference.job):
            return []
        return [Wrong(Kind.UNRULY, f"{what}: code {ended.code}: {ended.last_line()}")]
    if reference.job == PREDICT and ended.stdout != reference.stdout:
        return [Wrong(Kind.SILENT, f"{what}: another answer")]
    differ = reference.not_as_undisturbed(read_files(place.project))
    return [
        Wrong(wrong.kind, f"{what}: {wrong.what}")
        for wrong in differ
        if not wrong.what.startswith(f"{damaged} " if damaged else "\0")
    ][:1]


def of_a_checkpoint(lab: Laboratory, reference: Reference) -> Trial:
    """A training that was killed as it began its second checkpoint, and the first one damaged."""
    counted = [event for event in reference.events if not event.only_read]
    made = [event.what == "mkdir" and "/checkpoint-" in event.path for event in counted]
    second = [at for at, is_made in enumerate(made) if is_made][1]
    with lab.place(reference.job) as place:
        lab.run(reference.job, place, Armed(Plan.KILL, second + 1, place.folder))
        files = sorted(each for each in (place.project / ".training").rglob("*") if each.is_file())
        files = [each for each in files if each.stat().st_size]
        file = lab.random.choice(files)
        what = f"{file.relative_to(place.project)} on resume"
        point = f"{what}, {flip(lab, file)}"
        wrongs = judged(reference, lab.run(reference.job, place), place, "", what)
    return Trial(FAULT, reference.job.name, point, tuple(wrongs))
