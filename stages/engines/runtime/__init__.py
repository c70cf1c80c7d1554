"""Running a packed model without torch: one file of weights, a small library.

`shipped/` is what ships of it, for every model that runs so: the walk over a batch, threads, the
interface for C and Python. A model's own operators lie beside its variant.
"""
