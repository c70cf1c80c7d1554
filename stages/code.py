"""Find out which source files each stage, task and variant is made of.

DVC sees files, not imports: were every stage to depend on all of stages/, an edit of a kernel would
train anew; and lists kept by hand go stale. So each stage depends on what this one writes about it:
the checksums of the files that it imports, directly or not. An edit runs this stage, which takes
half a second, and then what it really touches.
"""

from stages import tasks, variants
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_folder, sha256, write_json
from stages.plumbing.imports import ROOT, files_of
from stages.settings.params import load_params


def code() -> None:
    """Write reports/code/<stage>.json, tasks/<task>.json and variants/<variant>.json."""
    params = load_params()
    stage_names = [path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__"]
    modules = {name: [f"stages.{name}"] for name in stage_names if name != "code"}
    modules |= {f"variants/{name}": [variants.module_of(name)] for name in params.quantize}
    modules |= {
        f"tasks/{name}": ["stages.tasks", tasks.module_of(name, params.csv)]
        for name in params.tasks
    }
    with new_folder(paths.CODE) as folder:
        for name, parts in modules.items():
            files = {path: sha256(ROOT / path) for path in files_of(parts)}
            write_json(folder / f"{name}.json", files)
    print(f"{len(modules)} stages, tasks and variants")


if __name__ == "__main__":
    run_stage(code)
