"""What a variant learns from the training rows before it is built; most learn nothing."""

from stages import tasks, variants
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_folder, write_text
from stages.plumbing.params import load_params
from stages.variants import Source


def calibrate(task: str, seed: str, variant: str) -> None:
    """Write models/<task>/seed_<seed>/calibrated/<variant>/: ranges, sensitivities, weights."""
    params = load_params().variant(variant)
    target = paths.calibration(task, seed, variant)
    source = Source(
        tasks.get(task), paths.checkpoint(task, seed), paths.split(task, "train"), target
    )
    learn = getattr(variants.get(variant), "calibrate", None)
    with new_folder(target) as folder:
        if learn is not None:
            learn(source, folder, params)
        else:  # DVC warns of an empty folder at every turn
            write_text(folder / "nothing.txt", f"{variant} learns nothing from training rows\n")


if __name__ == "__main__":
    run_stage(calibrate)
