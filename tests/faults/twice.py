"""The same job twice at once in one project, the second started a moment later."""

import time
from collections.abc import Iterator

from tests.faults.comparing import Reference, read_files
from tests.faults.finding import Kind, Trial, Wrong
from tests.faults.laboratory import Laboratory

FAULT = "twice at once"


def twice_at_once(lab: Laboratory, references: list[Reference], number: int) -> Iterator[Trial]:
    """Each job about as often; both must end well, with the undisturbed result."""
    for turn in range(number):
        reference = references[turn % len(references)]
        job, old = reference.job, lab.random.random() < 0.5
        # At once, as `dvc repro` in two windows, or anywhere within the first one's run.
        later = 0.0 if turn < len(references) else lab.random.uniform(0, reference.seconds)
        with lab.place(job, old) as place:
            first = lab.start(job, place)
            time.sleep(later)
            second = lab.start(job, place)
            wrongs: list[Wrong] = []
            for name, ended in (("first", first.ended()), ("second", second.ended())):
                if ended.hung:
                    wrongs.append(Wrong(Kind.HANG, f"the {name} does not end"))
                elif ended.code:
                    wrongs.append(Wrong(Kind.UNRULY, f"the {name} fails: {ended.last_line()}"))
            if not wrongs:
                wrongs += reference.not_as_undisturbed(read_files(place.project))
        point = f"the second {1000 * later:.0f} ms later{', over older outputs' if old else ''}"
        yield Trial(FAULT, job.name, point, tuple(wrongs))
