"""Open the pages that stage compare wrote: reports/<task>/index.html.

python -m stages.commands.report
"""

import webbrowser

from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.private import cleaned
from stages.settings.params import load_params


def report() -> None:
    """In the browser, where there is one; the paths are printed in any case."""
    for task in load_params().tasks:
        page = paths.REPORTS / task / "index.html"
        if not page.exists():
            raise UserError(f"{page} is not there; run 'make repro', or 'dvc pull' it")
        print(cleaned(str(page.resolve())))
        webbrowser.open(page.resolve().as_uri())


if __name__ == "__main__":
    run_stage(report)
