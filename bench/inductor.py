"""A module compiled once by AOTInductor, torch.compile's code with C++ around it, for any batch.

The lengths of texts are symbols of the graph, so that nothing is compiled while batches are timed,
and a package is opened by a fresh process without compiling anew.
"""

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers import fastest
from stages.model.ingredients import Skipped
from stages.model.tokens import Batch, Predict

# How many threads run is decided by the process that opens the package, not where it was compiled.
SETTINGS = {"freezing": True, "cpp.dynamic_threads": True}


def need_compiler() -> None:
    """Raises Skipped where inductor finds no C++ compiler."""
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


def fastest_package(packages: dict[str, Path], inputs: list[str]) -> Path:
    """The one that is fastest here; the others are deleted, and what was tried is printed."""
    chosen = fastest({name: opened(package, inputs) for name, package in packages.items()})
    print(f"compiled {', '.join(packages)}; the fastest is {chosen}")
    for name, package in packages.items():
        if name != chosen:
            package.unlink()
    return packages[chosen]
