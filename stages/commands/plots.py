"""`dvc plots show`, its scripts inside the page: DVC's own page loads them from the web.

python -m stages.commands.plots
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import vl_convert

from stages.plumbing.command import UserError, run_stage

TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>dvc plots</title>
<script>{bundle}</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""
VEGA_LITE = "5.20"  # DVC's templates are of version 5


def plots() -> None:
    """Write dvc_plots/index.html, as `dvc plots show` does."""
    with tempfile.TemporaryDirectory() as temporary:
        template = Path(temporary) / "template.html"
        # Its stub lacks the default of `snippet`.
        bundle = vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]
        template.write_text(TEMPLATE.replace("{bundle}", bundle), encoding="utf-8")
        command = [sys.executable, "-m", "dvc", "plots", "show", "--html-template", str(template)]
        code = subprocess.run(command).returncode
    if code:
        raise UserError(f"'dvc plots show' ended with code {code}; see its message above")


if __name__ == "__main__":
    run_stage(plots)
