"""Build one variant of the fine-tuned model."""

from stages import tasks, variants
from stages.models.artifact import copy_without_weights, write_manifest
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.files import bytes_in, new_folder
from stages.plumbing.params import load_params
from stages.variants import Skipped, Source


def quantize(task: str, seed: str, variant: str) -> None:
    """Write models/<task>/seed_<seed>/<variant>/: weights, configuration, tokenizer, manifest."""
    params = load_params().variant(variant)
    source = Source(
        tasks.get(task),
        paths.checkpoint(task, seed),
        paths.split(task, "train"),
        paths.calibration(task, seed, variant),
    )
    target, chosen = paths.artifact(task, seed, variant), variants.get(variant)
    with new_folder(target) as folder:
        copy_without_weights(source.checkpoint, folder)
        try:
            chosen.build(source, folder, params)
        except Skipped as reason:
            write_manifest(folder, variant, params.model_dump(), skipped=str(reason))
            print(f"{task}/{variant}: SKIPPED, {reason}")
            return
        write_manifest(folder, variant, params.model_dump())
        count = chosen.count_quantized(folder)
        if count == 0 and variant != variants.REFERENCE:
            raise UserError(
                f"{variant} of {task} has no quantized operator: it is fp32 under another name; "
                "correct its parameters, or take it out of 'quantize' in params.yaml"
            )
        write_manifest(folder, variant, params.model_dump(), quantized_ops=count)
    print(f"{task}/{variant}: {bytes_in(target) / 1e6:.1f} MB, {count} quantized operators")


if __name__ == "__main__":
    run_stage(quantize)
