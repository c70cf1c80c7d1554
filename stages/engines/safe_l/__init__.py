"""Safe-L: int8 weights that may be added up in 16 bits, what multiplies them, and of whom."""
