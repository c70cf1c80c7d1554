"""SIGKILL at a file event: before it, or with half of a write on the disk; then run again."""

from collections.abc import Iterator
from itertools import chain, zip_longest

from tests.faults.comparing import Reference, read_files
from tests.faults.events import Armed, Plan
from tests.faults.finding import Kind, Trial, Wrong
from tests.faults.laboratory import Laboratory

FAULT = "kill"


def kills(lab: Laboratory, references: list[Reference], number: int) -> Iterator[Trial]:
    """`number` kills, of each job in turn while it has points; when all are used, once more."""
    points = in_turns(lab, references)
    for reference, at in (points * (1 + number // max(1, len(points))))[:number]:
        event = [each for each in reference.events if not each.only_read][at]
        half = event.what == "write" and lab.random.random() < 0.5
        yield kill(lab, reference, at, half, old=lab.random.random() < 0.5)


def in_turns(lab: Laboratory, references: list[Reference]) -> list[tuple[Reference, int]]:
    """Every event of every job in a seeded order; one of each job, then the next of each."""
    lists = []
    for reference in references:
        numbers = list(range(sum(not event.only_read for event in reference.events)))
        lab.random.shuffle(numbers)
        lists.append([(reference, at) for at in numbers])
    return [one for one in chain.from_iterable(zip_longest(*lists)) if one]


def kill(lab: Laboratory, reference: Reference, at: int, half: bool, old: bool) -> Trial:
    """At event `at`, from 0, of a job that starts with no outputs or with old ones."""
    job = reference.job
    event = [each for each in reference.events if not each.only_read][at]
    point = f"event {at + 1} ({'half of a ' if half else ''}{event.what} {event.path})"
    point += ", over older outputs" if old else ""
    with lab.place(job, old) as place:
        before = read_files(place.project)
        plan = Plan.KILL_HALF_WRITTEN if half else Plan.KILL
        ended = lab.run(job, place, Armed(plan, at + 1, place.folder))
        wrongs = [Wrong(Kind.HANG, "a process outlived the kill")] if ended.hung else []
        if ended.killed:
            wrongs += reference.half_written(before, read_files(place.project))
        elif ended.code:
            wrongs.append(Wrong(Kind.UNRULY, f"never killed: {ended.last_line()}"))
        again = lab.run(job, place)
        if again.hung:
            wrongs.append(Wrong(Kind.HANG, "the run after the kill does not end"))
        elif again.code:
            wrongs.append(Wrong(Kind.LOST, f"the run after the kill fails: {again.last_line()}"))
        else:
            wrongs += reference.not_as_undisturbed(read_files(place.project))
    return Trial(FAULT, job.name, point, tuple(wrongs))
