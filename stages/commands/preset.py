"""Named settings: `make preset-<name>` writes presets/<name>.yaml into params.yaml.

params.yaml stays the only file that counts, and `git diff params.yaml` shows what a preset is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.plumbing.command import UserError, nearest, run_stage
from stages.plumbing.files import new_file
from stages.plumbing.yaml_file import read_yaml
from stages.settings.params import AUTO, PARAMS_FILE, load_params

PRESETS = Path("presets")
VARIANTS = "quantize"


def preset(name: str) -> None:
    """Write the settings of presets/<name>.yaml into params.yaml, keeping everything else."""
    apply_preset(name)
    print(f"params.yaml now has the settings of {PRESETS / name}.yaml; see 'git diff params.yaml'")


def apply_preset(name: str) -> None:
    """Merge a preset into params.yaml, comments too; its list of variants replaces the old one.

    Raises:
        UserError: no such preset, or the result is not valid (params.yaml is then unchanged).
    """
    source = PRESETS / f"{name}.yaml"
    if not source.exists():
        known = [path.stem for path in PRESETS.glob("*.yaml")]
        raise UserError(f"unknown preset '{name}'; {nearest(name, known)}")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    for file in (PARAMS_FILE, source):
        read_yaml(file)  # which says in one line what is wrong
    params, settings = yaml.load(PARAMS_FILE), yaml.load(source)
    # What it takes, not what it leaves out: a new variant is in no preset that does not name it.
    if VARIANTS in settings:
        params[VARIANTS] = settings.pop(VARIANTS)
    merge(params, settings)
    if params["export"]["variant"] not in (AUTO, *params[VARIANTS]):  # of another preset
        params["export"]["variant"] = AUTO
    with new_file(PARAMS_FILE) as partial:
        yaml.dump(params, partial)
        load_params(partial)


def merge(into: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Change `into` in place; a value of null takes the key out."""
    for key, value in settings.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(into.get(key), Mapping):
            merge(into[key], value)
        else:
            into[key] = value


if __name__ == "__main__":
    run_stage(preset)
