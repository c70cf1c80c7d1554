"""Settings written into params.yaml: checked, its comments kept, all or nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

from ruamel.yaml import YAML

from stages.plumbing.files import new_file
from stages.plumbing.yaml_file import read_yaml
from stages.settings.params import AUTO, PARAMS_FILE, load_params

VARIANTS = "quantize"


def editor() -> YAML:
    """Which keeps comments, quotes and long lines as they are."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml


def write_settings(settings: Mapping[str, Any], anew: Iterable[tuple[str, str]] = ()) -> None:
    """Merge settings into params.yaml; their list of variants replaces the old one.

    Args:
        anew: section and key of what else is replaced as a whole.

    Raises:
        UserError: the result is not valid; params.yaml is then unchanged.
    """
    read_yaml(PARAMS_FILE)  # which says in one line what is wrong
    yaml, new = editor(), dict(settings)
    params = yaml.load(PARAMS_FILE)
    # What it takes, not what it leaves out: a new variant is in no list that does not name it.
    if VARIANTS in new:
        params[VARIANTS] = new.pop(VARIANTS)
    for section, key in anew:
        params[section].pop(key, None)
    merge(params, new)
    if params["export"]["variant"] not in (AUTO, *params[VARIANTS]):  # of another list
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
