"""How big: bytes by part of a BERT-type classifier."""

PARTS = ("word_embeddings", "other_embeddings", "encoder", "head")
MB = 1e6  # as PyTorch's tutorial prints it


def part_of(tensor: str) -> str:
    """The part that a tensor of a transformers classifier belongs to, by its name.

    The head is what follows the encoder: pooler and classifier.
    """
    words = tensor.split(".")
    if "embeddings" in words:
        return "word_embeddings" if "word_embeddings" in words else "other_embeddings"
    if "word_embedding" in words:  # XLNet's name
        return "word_embeddings"
    return "encoder" if {"encoder", "transformer", "layer"} & set(words) else "head"


def bytes_by_part(tensors: dict[str, int]) -> dict[str, int]:
    """Sum tensor sizes (name -> bytes) by part; parts without tensors count 0."""
    totals = dict.fromkeys(PARTS, 0)
    for name, size in tensors.items():
        totals[part_of(name)] += size
    return totals
