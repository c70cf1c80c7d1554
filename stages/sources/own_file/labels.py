"""What stands in a label column, as the number of a class or as a score."""

import math
import re
from collections.abc import Sequence

import numpy as np

from stages.plumbing.command import nearest
from stages.plumbing.terminal import UNSEEN

HIDDEN = "-1"
GENERIC = re.compile(r"(label )?\d+")  # LABEL_0 is what transformers writes where nobody says
LONGEST_NAME = 200  # characters of a class
MOST_CLASSES = 200  # more different values than this are scores, ids or texts
# What may be behind an unknown label.
HINTS = {
    HIDDEN: "; -1 is written where labels are hidden, as in GLUE's test files: such a split cannot "
    "be scored, leave its file out of params.yaml"
}


def spelling(name: str) -> str:
    """Of a class: case does not count, nor whether words are joined by `-`, `_` or a blank."""
    return re.sub(r"[-_\s]+", " ", name).strip().casefold()


def plain(cell: str) -> str:
    """One spelling for what different programs write: 1.0 is 1, True is true."""
    cell = cell.strip()
    if re.fullmatch(r"-?\d+\.0+", cell):
        return cell.split(".")[0]
    return cell.lower() if cell.lower() in ("true", "false") else cell


def readable(name: str) -> str:
    """Raises ValueError for the name of a class that no line could show, or that is a text."""
    if UNSEEN.search(name) or "\n" in name or "\t" in name:
        raise ValueError(f"label {name!r} holds an end of line or a control character; correct it")
    if len(name) > LONGEST_NAME:
        raise ValueError(
            f"label '{name[:40]}...' has {len(name):,} characters, so it is a text; name the "
            "column of the labels"
        )
    return name


class Classes(dict[str, int]):
    """A cell, as it stands in the file -> its class.

    Args:
        labels: value -> name of its class. If empty, each value that is met becomes a class, until
            `settle` is called.
    """

    def __init__(self, labels: dict[str, str]) -> None:
        super().__init__()
        self.names = tuple(dict.fromkeys(labels.values()))
        self.number_of = {value: self.names.index(name) for value, name in labels.items()}
        self.learns = not labels

    def __missing__(self, cell: str) -> int:
        """Raises ValueError for a value that means no class."""
        value = plain(cell)
        if value not in self.number_of:
            if not self.learns:
                hint = HINTS.get(value.lower(), "")
                raise ValueError(
                    f"unknown label '{value}'; {nearest(value, list(self.number_of))}{hint}"
                )
            if len(self.number_of) == MOST_CLASSES:
                raise ValueError(
                    f"label '{value}' is the {MOST_CLASSES + 1}st different value; if these are "
                    "scores, set 'metric: pearson'; if they are classes, list them under 'labels'"
                )
            self.number_of[readable(value)] = len(self.number_of)
        self[cell] = self.number_of[value]
        return self[cell]

    def settle(self, model: Sequence[str] = ()) -> np.ndarray:
        """Put the classes that were met in order; from then on, others are unknown.

        Args:
            model: what a fine-tuned model calls its classes, whose order is then kept.

        Returns:
            The class's number before -> its number now.

        Raises:
            ValueError: it has no names for them, or two of them differ in their spelling alone.
        """
        if not self.learns:
            return np.arange(len(self.names))
        integers = all(re.fullmatch(r"-?\d+", value) for value in self.number_of)
        met = list(self.number_of)
        spelled: dict[str, str] = {}
        for value in met:
            other = spelled.setdefault(str(int(value)) if integers else spelling(value), value)
            if other != value:
                raise ValueError(
                    f"the labels '{other}' and '{value}' differ in their spelling alone; list all "
                    "values under 'labels', with one name for those that are one class"
                )
        in_order = sorted(met, key=(lambda value: (int(value), value)) if integers else None)
        known = [spelling(name) for name in model]
        if sorted(map(spelling, met)) == sorted(known):
            in_order.sort(key=lambda value: known.index(spelling(value)))
        elif not integers and model and all(GENERIC.fullmatch(name) for name in known):
            raise ValueError(
                f"the model calls its classes {', '.join(model)}, so nothing says which of them is "
                f"'{in_order[0]}'; list them under 'labels' in the model's order, as "
                f"{{{', '.join(f'{name}: {name}' for name in in_order)}}} if it is this one"
            )
        self.names = tuple(in_order)
        self.number_of = {name: number for number, name in enumerate(self.names)}
        self.learns = False
        self.clear()
        return np.array([self.number_of[value] for value in met])


class Scores:
    """A cell -> the number in it."""

    names: tuple[str, ...] = ()

    def __getitem__(self, cell: str) -> float:
        """Raises ValueError for what is no finite number."""
        try:
            score = float(cell)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise ValueError(
                f"score '{cell}' is no finite number, which a regression needs; correct it (with a "
                "point, not a comma), or take a metric for classes such as weighted_f1"
            )
        return score
