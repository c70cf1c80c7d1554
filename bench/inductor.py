"""A module compiled once by AOTInductor, torch.compile's code with C++ around it, for any batch.

The lengths of texts are symbols of the graph, so that nothing is compiled while batches are timed,
and a package is opened by a fresh process without compiling anew.
"""

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers import fastest, torch_threads
from stages.model.artifact import copy_without_weights, read_recipe
from stages.model.ingredients import Skipped
from stages.model.tokens import Batch, Predict
from stages.plumbing.memory import keep_freed_memory

# How many threads run is decided by the process that opens the package, not where it was compiled.
SETTINGS = {"freezing": True, "cpp.dynamic_threads": True}


COMPILED = "model.pt2"


def begin(checkpoint: Path, folder: Path) -> list[str]:
    """What every preparation begins with; the inputs of the model.

    Raises:
        Skipped: inductor finds no C++ compiler.
    """
    need_compiler()
    torch_threads(1)
    keep_freed_memory()
    copy_without_weights(checkpoint, folder)
    return read_recipe(checkpoint).inputs


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    """What every peer of this kind is loaded by."""
    threads_found = torch_threads(threads)
    keep_freed_memory()
    return opened(folder / COMPILED, read_recipe(folder).inputs), threads_found


def need_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        compiler = get_cpp_compiler()
    except Exception as error:
        raise Skipped(f"inductor finds no C++ compiler: {' '.join(str(error).split())}") from None
    if not shutil.which(compiler):
        raise Skipped(f"inductor needs a C++ compiler, and there is no {compiler}")


def exported(module: Any, inputs: list[str]) -> Any:
    """torch.export's program of LogitsOnly, or of what became of it, for any batch and length."""
    import torch

    from stages.model.classifier import example

    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=512)
    shapes: Any = tuple({0: batch, 1: length} for _ in inputs)
    if not isinstance(module, torch.fx.GraphModule):
        shapes = (shapes,)  # LogitsOnly takes its tensors as one variadic argument
    with torch.no_grad():
        return torch.export.export(module, example(inputs), dynamic_shapes=shapes)


def compile_to(program: Any, target: Path, settings: dict[str, Any] | None = None) -> None:
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(target), inductor_configs=SETTINGS | (settings or {})
        )


def opened(package: Path, inputs: list[str]) -> Predict:
    import torch

    compiled = torch._inductor.aoti_load_package(str(package))

    @torch.inference_mode()
    def predict(batch: Batch) -> np.ndarray:
        logits: np.ndarray = compiled(*(torch.from_numpy(batch[name]) for name in inputs)).numpy()
        return logits

    return predict


def keep_fastest(packages: dict[str, Path], inputs: list[str]) -> list[str]:
    """Of the one that is fastest here, its name; others are deleted, what was tried is printed."""
    chosen = fastest({name: opened(package, inputs) for name, package in packages.items()})
    print(f"compiled {', '.join(packages)}; the fastest is {chosen}")
    for name, package in packages.items():
        if name != chosen:
            package.unlink()
    packages[chosen].rename(packages[chosen].with_name(COMPILED))
    return [COMPILED]
