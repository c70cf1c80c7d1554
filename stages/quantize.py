"""Build one variant of the fine-tuned model."""

from stages import variants
from stages.models.artifact import copy_without_weights, read_recipe, write_manifest
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import bytes_in, new_folder
from stages.plumbing.params import load_params
from stages.variants import Source


def quantize(task: str, variant: str) -> None:
    """Write models/<task>/<variant>/: weights, configuration, tokenizer, manifest."""
    params = load_params().variant(variant)
    checkpoint = paths.checkpoint(task)
    source = Source(checkpoint=checkpoint, train=paths.split(task, "train"))
    target = paths.artifact(task, variant)
    with new_folder(target) as folder:
        copy_without_weights(checkpoint, folder)
        variants.get(variant).build(source, folder, params)
        write_manifest(folder, variant, read_recipe(checkpoint), params.model_dump())
    print(f"{task}/{variant}: {bytes_in(target) / 1e6:.1f} MB")


if __name__ == "__main__":
    run_stage(quantize)
