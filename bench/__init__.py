"""The race: our variants against every peer on this machine, in one run. `python -m bench`."""
