"""What a timing may ask of this machine; the rest is refused before a process is started."""

from typing import Any

import pytest

from stages import latency
from stages.latency import check_possible
from stages.plumbing.command import UserError
from stages.settings.params import Latency

USUAL: dict[str, Any] = {
    "threads": [1, "all"],
    "batch_sizes": [1, 32],
    "queries": 256,
    "rounds": 4,
    "warmup": 4,
    "padding": "longest",
}


def check(**changed: Any) -> None:
    check_possible(Latency(**USUAL | changed), max_length=128, memory=8 * 10**9)


def test_what_is_usual_passes_and_a_few_threads_too_many_as_well() -> None:
    check()
    check(threads=[1, 64])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"threads": [1, 400]}, "latency.threads has 400, and this machine has 4 processors"),
        ({"rounds": 257}, "latency.rounds is 257, but .* latency.queries is 256"),
        ({"queries": 10**6}, r"latency.queries: 1000000 with .*: \[1, 32\] may need 101.4 GB"),
    ],
)
def test_what_it_can_only_fail_at_is_refused(
    changed: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "processors", lambda: 4)
    with pytest.raises(UserError, match=message):
        check(**changed)
