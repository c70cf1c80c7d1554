"""Build one variant of the fine-tuned model, after it learned what it needs from training rows."""

from stages import variants
from stages.dataset.task import read_task
from stages.dataset.verified import verify_splits
from stages.model.ingredients import Ingredients
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import bytes_in, new_folder
from stages.plumbing.manifest import verify_folder
from stages.settings.arguments import params_for


def quantize(task: str, seed: str, variant: str) -> None:
    """Write models/<task>/seed_<seed>/<variant>/: weights, configuration, tokenizer, manifest."""
    params = params_for(task, variant).variant(variant)
    target = paths.artifact(task, seed, variant)
    ingredients = Ingredients(
        read_task(task),
        paths.checkpoint(task, seed),
        paths.split(task, "train"),
        learned=paths.SCRATCH / f"{task}-{seed}-{variant}",
    )
    verify_folder(ingredients.checkpoint)
    verify_splits(task, "train")
    with new_folder(target) as folder:
        manifest = variants.build_artifact(variant, ingredients, params, folder)
    if manifest.skipped:
        print(f"{task}/{variant}: SKIPPED, {manifest.skipped}")
    else:
        size, count = bytes_in(target) / 1e6, manifest.quantized_ops
        distance = f"{100 * manifest.distance_from_fp32:.1f} % from fp32's logits on training rows"
        print(f"{task}/{variant}: {size:.1f} MB, {count} quantized operators, {distance}")


if __name__ == "__main__":
    run_stage(quantize)
