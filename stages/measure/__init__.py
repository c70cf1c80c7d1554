"""How good, how big, how fast: pure functions where possible."""
