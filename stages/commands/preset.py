"""Named settings: `make preset-<name>` writes presets/<name>.yaml into params.yaml.

params.yaml stays the only file that counts, and `git diff params.yaml` shows what a preset is.
"""

from pathlib import Path
from typing import Any

from stages.plumbing.command import UserError, nearest, run_stage
from stages.plumbing.yaml_file import read_yaml
from stages.settings.writing import editor, write_settings

PRESETS = Path("presets")


def preset(name: str) -> None:
    """Write the settings of presets/<name>.yaml into params.yaml, keeping everything else."""
    apply_preset(name)
    print(f"params.yaml now has the settings of {PRESETS / name}.yaml; see 'git diff params.yaml'")


def apply_preset(name: str) -> None:
    """Merge a preset into params.yaml, comments too.

    Raises:
        UserError: no such preset, or the result is not valid (params.yaml is then unchanged).
    """
    write_settings(settings_of(name))


def settings_of(name: str) -> Any:
    """A preset's, with its comments.

    Raises:
        UserError: no such preset, or no valid YAML.
    """
    known = [path.stem for path in PRESETS.glob("*.yaml")]
    if name not in known:  # however it is written: ../../x is a file too
        raise UserError(f"unknown preset '{name}'; {nearest(name, known)}")
    source = PRESETS / f"{name}.yaml"
    read_yaml(source)
    return editor().load(source)


if __name__ == "__main__":
    run_stage(preset)
