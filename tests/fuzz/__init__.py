"""Fuzzers of everything that reads bytes from outside; see __main__.py.

The rule: whatever the bytes, a parser gives something or raises the one exception that its caller
turns into one line. Not another, not after half a minute, not with the memory full.
"""
