"""One stage, one file: `python -m stages.<stage> <task> [<variant>]`, run by DVC from dvc.yaml."""
