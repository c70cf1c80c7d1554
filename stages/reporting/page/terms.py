"""What the columns of a comparison mean, in a sentence each: shown where a reader points at one."""

import re

# The first pattern that is found in a column's name.
TERMS = {
    r"^variant$": "One way to store and run the same fine-tuned model; docs/variants.md has all.",
    r"^drop": "The metric of fp32 minus this variant's, in points, on the same texts; in brackets "
    "the interval that holds the true drop. Negative: the variant scored higher.",
    r"^verdict$": "Within budget if the whole interval lies under the budget, over budget if all "
    "of it lies above, else undecided on so few texts.",
    r"^p90 ms$": "Nine of ten single texts take no longer: milliseconds for one text on the first "
    "number of threads, without tokenizing.",
    r"^p50 ms$": "Half of the single texts take no longer, in milliseconds, without tokenizing.",
    r"^speed-up": "fp32's p90 divided by this one's, both from the same interleaved run.",
    r"^texts/s$": "Texts a second at the largest batch size and number of threads that was timed.",
    r"^MB$": "Size of the weight file in millions of bytes.",
    r"^smaller$": "Size of fp32's weights divided by this one's.",
    r"^peak MB$": "Most memory that loading and running took in the timed process, beyond what it "
    "held before, in millions of bytes.",
    r"^cost": "What a million texts cost at the highest throughput that was timed, at the price "
    "of a core-hour that params.yaml states.",
    r"^needs there$": "What must be installed where it runs; any one of what stands there will do.",
    r"^on the front$": "No other variant is at least as good in score, p90 and size.",
    r"^quantized operators$": "Operators that run in reduced precision.",
    r"^precision$": "Of the texts given this class, the share that is of it.",
    r"^recall$": "Of the texts of this class, the share that was given it.",
    r"^support$": "Texts of this class in validation.",
    r"^f1": "Harmonic mean of precision and recall; of two classes, the second one's.",
    r"^weighted_f1": "F1 of each class, weighted by how many texts it has.",
    r"^accuracy": "Share of the texts answered right.",
    r"^matthews": "Matthews' correlation of answers and labels: 1 is perfect, 0 is chance.",
    r"^(pearson|spearman)": "Correlation of the scores with the labels: 1 is perfect, 0 is none.",
}


def meaning(column: str) -> str:
    """A sentence, or nothing where the name says it."""
    return next((text for pattern, text in TERMS.items() if re.search(pattern, column)), "")
