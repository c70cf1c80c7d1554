"""`export.needs`: what `auto` ships among what production can run.

On the committed field, as if all of it were within the budget, and int8_fast the fastest.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from stages import variants
from stages.measure.selection import Choice
from stages.measure.verdict import WITHIN
from stages.reporting.choice import auto_choice
from stages.reporting.row import Row
from stages.settings.params import load_params

ROWS = {
    path.stem: replace(Row.read(path), verdict=WITHIN)
    for path in sorted(Path("docs/evidence/full/metrics/mrpc/compare").glob("*.json"))
}
FAST = ROWS["int8_fast"]
ROWS["int8_fast"] = replace(FAST, cost=replace(FAST.cost, p90_ms=0.1))


def ships(needs: str, names: set[str] | None = None) -> Choice:
    params = load_params()
    export = params.export.model_copy(update={"needs": needs})
    rows = {name: row for name, row in ROWS.items() if names is None or name in names}
    return auto_choice(rows, params.model_copy(update={"export": export}))


def within(needs: set[str]) -> set[str]:
    return {
        n for n, row in ROWS.items() if row.verdict == WITHIN and variants.get(n).needs in needs
    }


def test_any_takes_the_fastest_of_all() -> None:
    assert ships("any").variant == "int8_fast"


@pytest.mark.parametrize(
    ("needs", "admitted", "says"),
    [
        ("onnx", {variants.ONNX_RUNTIME}, "of what ONNX Runtime runs, "),
        ("no-compiler", {variants.ONNX_RUNTIME, variants.TORCH}, "of what never needs a compiler"),
    ],
)
def test_what_production_lacks_does_not_ship(needs: str, admitted: set[str], says: str) -> None:
    choice = ships(needs)
    fastest = min(within(admitted), key=lambda name: ROWS[name].cost.p90_ms)
    assert choice.variant == fastest
    assert choice.reason.startswith(says)


@pytest.mark.parametrize("needs", ["onnx", "no-compiler"])
def test_where_nothing_that_is_left_is_good_enough_fp32_ships(needs: str) -> None:
    assert ships(needs, {"fp32", "int8_fast"}).variant == "fp32"


def test_a_reference_that_stands_in_the_tables_alone_never_ships() -> None:
    assert not variants.get("ibert_paper").ships
    row = ROWS["int8_fast"]
    rows = {"fp32": ROWS["fp32"], "ibert_paper": row}
    assert auto_choice(rows, load_params()).variant == "fp32"
