"""`make score`: a corpus of any size with an exported model. `__main__.py` is the command."""
