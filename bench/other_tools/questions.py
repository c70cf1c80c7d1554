"""What who quantizes a model wants to know, and whether what a tool said answers it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

YES, PARTLY, NO = "yes", "partly", "no"
# Key -> the question, and the words without which nothing can have been said of it.
QUESTIONS = {
    "ship": ("Which one do I ship?", r"\b(best|recommend\w*|ships?|chosen|selected)\b"),
    "lose": ("What do I lose, with an interval?", r"\b(accuracy|f1|score|drop|loss)\b"),
    "faster": (
        "How much faster on my CPU at batch 1?",
        r"\b(latency|throughput|faster|speed-?up|p90|\d ?ms)\b",
    ),
    "smaller": ("How much smaller?", r"\b(smaller|size|[MG]i?B|bytes)\b"),
    "texts": ("Which texts change their answer?", r"\b(texts?|answers?|samples?) .*\bchanged?\b"),
    "undecided": (
        "Is it undecided, and how many more texts are needed?",
        r"\b(undecided|interval|confidence|significan\w*)\b",
    ),
}
# Of libraries beneath, not of the tool.
NOISE = re.compile(r"Warning|^Failed to load|^[WE]\d{4} |^\s|^`torch_dtype`|\d+%\|")


@dataclass(frozen=True)
class Said:
    """Attributes:
    printed: all that the tool printed, with MODEL and DATA in the place of their paths.
    files: what it wrote for people or programs to read, by name.
    """

    printed: str
    files: Mapping[str, str]

    def lines(self) -> list[str]:
        """What it printed and is its own."""
        return [
            line.strip()
            for line in re.split(r"[\r\n]+", self.printed)
            if line.strip() and not NOISE.search(line)
        ]

    def line(self, pattern: str) -> str:
        """The first line that `pattern` is found in; empty where there is none."""
        return next((line for line in self.lines() if re.search(pattern, line)), "")


@dataclass(frozen=True)
class Judgement:
    """Attributes:
    answered: yes, partly, no.
    evidence: what was said, or that nothing was.
    """

    answered: str
    evidence: str


def unless_said(said: Said, question: str) -> Judgement:
    """For what a tool has no feature for: no, unless a line of it speaks of that all the same."""
    words = QUESTIONS[question][1]
    if line := said.line(f"(?i){words}"):
        return Judgement(PARTLY, line)
    for name, text in said.files.items():
        if found := re.search(f"(?i).*{words}.*", text):
            return Judgement(PARTLY, f"{name}: {found[0].strip()}")
    files = f" nor in {', '.join(said.files)}" if said.files else ""
    return Judgement(NO, f"nothing of it in the {len(said.lines())} lines that it printed{files}")


def if_found(line: str, otherwise: Judgement) -> Judgement:
    return Judgement(YES, line) if line else otherwise
