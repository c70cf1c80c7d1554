"""A part of each class, fixed by the texts alone: what is held out of a file of the user's."""

import hashlib

import numpy as np


def checksum(texts: list[str]) -> bytes:
    """8 bytes that stand for a row's text (or pair of texts)."""
    return hashlib.blake2b("\x1f".join(texts).encode(), digest_size=8).digest()


def held_out(texts: np.ndarray, strata: np.ndarray, one_in: int) -> np.ndarray:
    """Of each stratum with two rows or more one row in so many, at least one.

    No seed, library version or order of rows changes which texts these are. Copies of one text stay
    on one side, and a text that stands in two strata is not held out, so that nothing is on both
    sides. With distinct texts a stratum of n rows gives exactly n / one_in, rounded half up; copies
    that would overshoot it are passed over.

    Args:
        texts: shape (n,), uint64 checksums.
        strata: shape (n,), int.

    Returns:
        shape (n,), bool.
    """
    _, first, group, copies = np.unique(
        texts, return_index=True, return_inverse=True, return_counts=True
    )
    stratum = strata[first]  # of each distinct text, in the order of the checksums
    ambiguous = np.zeros(len(first), dtype=bool)
    ambiguous[group[strata != stratum[group]]] = True
    chosen = np.zeros(len(first), dtype=bool)
    for each in np.unique(strata):
        rows = int((strata == each).sum())
        wanted = max((rows + one_in // 2) // one_in, 1) if rows > 1 else 0
        candidates = np.flatnonzero((stratum == each) & ~ambiguous)
        for candidate, size in zip(candidates, copies[candidates].tolist(), strict=True):
            if not wanted:
                break
            if size <= wanted:
                chosen[candidate] = True
                wanted -= size
    result: np.ndarray = chosen[group]
    return result
