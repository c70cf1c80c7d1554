"""Every family of encoders goes the way that docs/families.md says it goes."""

from pathlib import Path

import pytest

from stages.plumbing.json_file import read_json
from tests.all_families import FAMILIES, RESULTS, WORKS, outcomes

COMMITTED: dict[str, dict[str, str]] = read_json(RESULTS)
# All of them take a quarter of an hour: `python -m tests.all_families`.
TRIED = ["fp32", "int8_dynamic", "int8_embeddings", "int8_fast"]
# Of each way to be built one, so that the tests are over soon.
AGAIN = ["albert", "bert", "deberta-v2", "electra", "fnet", "longformer", "modernbert", "mpnet"]


def test_the_table_has_families_that_are_known() -> None:
    assert set(COMMITTED) <= set(FAMILIES)


@pytest.mark.parametrize("family", AGAIN)
def test_a_family_works_or_says_in_one_line_why_not(family: str, tmp_path: Path) -> None:
    expected = {name: what for name, what in COMMITTED[family].items() if name in TRIED}
    found = outcomes(family, TRIED)
    assert {name: what == WORKS for name, what in found.items()} == {
        name: what == WORKS for name, what in expected.items()
    }
    for what in found.values():
        assert "\n" not in what
        assert what == WORKS or what.startswith(("skipped: ", "refused: "))
