"""The tensors of an integer model and their order: docs/ibert.md, "The file"."""

from stages.engines.runtime.packed_file import (
    MODEL_SCALARS,
    Entry,
    Format,
    Sizes,
    linears,
    norms,
    packed_weights,
    round_up,
    tables,
)

LAYER_SCALARS = 20  # columns of `layers`


def entries(sizes: Sizes) -> list[Entry]:
    """Int8, int16 and int32 alone."""
    found = [
        Entry("model", "int32", (MODEL_SCALARS,)),
        Entry("layers", "int32", (round_up(sizes.layers, 4), LAYER_SCALARS)),
        *packed_weights(sizes),
    ]
    shapes = linears(sizes)
    found += [Entry(f"{name}.weight_sum", "int32", (n,)) for name, (n, _) in shapes.items()]
    found.append(Entry("head.bias", "int32", (sizes.outputs,)))
    for name, (n, _) in shapes.items():
        found += [
            Entry(f"{name}.{part}", "int16", (n,)) for part in ("multiplier", "bias", "limit")
        ]
    for name in norms(sizes):
        found += [Entry(f"{name}.{part}", "int16", (sizes.hidden,)) for part in ("gamma", "beta")]
    found.append(Entry("head.weight", "int16", (sizes.outputs, sizes.hidden)))
    found += [Entry(f"{name}.multiplier", "int16", (n,)) for name, n in tables(sizes).items()]
    found += [
        Entry(f"{name}.weight", "int8", (n, sizes.hidden)) for name, n in tables(sizes).items()
    ]
    return found


FORMAT = Format(1, "integer model", entries)
