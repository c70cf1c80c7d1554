"""Run exported files in a process that never saw the variant, as predict.py runs them."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from stages.plumbing.command import run_child
from stages.running.shipped.predict import LOADERS
from stages.running.timed_process import read_batches


def main(folder: str, files: str, inputs: str, batches: str, threads: str, out: str) -> None:
    """Write the logits of each batch as `<file>/<name of the batch>` to `out`.

    Args:
        folder: where the files lie.
        files: names, with commas between.
        inputs: of the model, in its order, likewise; TorchScript has no names for them.
        batches: padded, see `save_batches`.
        out: .safetensors
    """
    loaded = {
        name: {argument: batch[argument] for argument in inputs.split(",")}
        for name, batch in read_batches(Path(batches)).items()
    }
    logits: dict[str, np.ndarray] = {}
    for file in map(Path(folder).joinpath, files.split(",")):
        run = LOADERS[file.suffix](file, int(threads))
        logits |= {f"{file.name}/{name}": run(batch) for name, batch in loaded.items()}
    save_file(logits, out)


if __name__ == "__main__":
    run_child(main)
