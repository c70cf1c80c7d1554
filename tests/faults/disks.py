"""A disk that is full from some event on: the project's, the cache's, that of temporary files."""

from collections.abc import Iterator

from tests.faults.comparing import Reference, read_files, unfinished
from tests.faults.events import Armed, Plan
from tests.faults.finding import Kind, Trial, Wrong
from tests.faults.kills import in_turns
from tests.faults.laboratory import Laboratory

FAULT = "full disk"
DISKS = ("project", "cache", "tmp")


def full_disks(lab: Laboratory, references: list[Reference], number: int) -> Iterator[Trial]:
    """`number` points at which something needs space, of each job in turn."""
    found = 0
    for reference, at in in_turns(lab, references):
        counted = [event for event in reference.events if not event.only_read]
        if not counted[at].needs_space or found == number:
            continue
        disk = counted[at].path.split("/")[0]
        on_it = [event for event in counted[: at + 1] if event.path.split("/")[0] == disk]
        found += 1
        yield full_disk(lab, reference, disk, len(on_it), counted[at].path)


def full_disk(lab: Laboratory, reference: Reference, disk: str, at: int, path: str) -> Trial:
    """From the `at`-th event on that disk on; then there is space, and it runs again."""
    job, wrongs = reference.job, []
    with lab.place(job) as place:
        before = read_files(place.project)
        ended = lab.run(job, place, Armed(Plan.FULL, at, place.folder / disk))
        now = read_files(place.project)
        if ended.hung:
            wrongs.append(Wrong(Kind.HANG, "does not end"))
        elif ended.code == 0:  # it could do without
            wrongs += reference.not_as_undisturbed(now)
        else:
            if not ended.refused(job):
                wrongs.append(Wrong(Kind.UNRULY, f"code {ended.code}: {ended.last_line()}"))
            wrongs += reference.half_written(before, now)
            left = [path for path in now if unfinished(path) and not path.startswith(".training")]
            wrongs += [Wrong(Kind.LEFT, f"{path}, after an exit") for path in left[:1]]
        again = lab.run(job, place)
        if again.code:
            wrongs.append(Wrong(Kind.LOST, f"with space again it fails: {again.last_line()}"))
        elif ended.code:
            wrongs += reference.not_as_undisturbed(read_files(place.project))
    return Trial(FAULT, job.name, f"{disk} from {path} on", tuple(wrongs))
