"""How a model is stored and run: one file or folder per variant, found by its name.

Adding a variant: a new file here that defines `VARIANT`, and one line `<name>: {}` under `quantize`
in params.yaml. What is slow to import belongs inside its functions or into the module that runs
it, so that params.yaml can be checked without torch.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from pydantic import Field

from stages.model.artifact import (
    Manifest,
    copy_without_weights,
    read_recipe,
    write_manifest,
)
from stages.model.ingredients import Ingredients, Skipped
from stages.plumbing.command import UserError, in_short, nearest
from stages.plumbing.faults import of_the_machine
from stages.plumbing.files import scratch_folder
from stages.plumbing.json_file import read_json
from stages.plumbing.section import Section

if TYPE_CHECKING:
    from stages.model.tokens import Predict

__all__ = [
    "ONNX_RUNTIME",
    "OWN_LIBRARY",
    "REFERENCE",
    "TORCH",
    "Engine",
    "Ingredients",
    "Skipped",
    "Variant",
    "VariantParams",
    "build_artifact",
    "get",
    "module_of",
    "names",
]

REFERENCE = "fp32"
# What must be there where a variant runs as it was timed here. A library of our own ships compiled;
# a machine of another kind than this one needs a C++ compiler to make it anew.
TORCH, ONNX_RUNTIME, OWN_LIBRARY = "torch", "onnxruntime", "own library"


class VariantParams(Section):
    """What every variant may be given under `quantize`.

    Attributes:
        max_distance_from_fp32, max_other_answers_pct: see stages/model/nearness.py; what lies
            farther is no quantized form of the model but a fault, and is refused.
    """

    max_distance_from_fp32: float = Field(default=1, gt=0)
    max_other_answers_pct: float = Field(default=20, ge=0, le=100)

    def own(self) -> dict[str, Any]:
        """What only this variant is given."""
        return self.model_dump(exclude=set(VariantParams.model_fields))


Params = TypeVar("Params", bound=VariantParams)


class Engine(Protocol):
    """The module that runs a built artifact; several variants may share one (stages/engines/)."""

    def load(self, artifact: Path) -> "Predict":
        """Ready to predict. Thread counts are set before the call, by whoever runs the process."""

    def count_quantized(self, artifact: Path) -> int:
        """Operators of the loaded variant that really run in reduced precision."""

    def tensor_bytes(self, artifact: Path) -> dict[str, int]:
        """Tensor name, as in the FP32 model -> bytes stored for it."""

    def export(self, artifact: Path, folder: Path) -> list[str]:
        """Write what can ship without this project; returns the names of the model files."""


class CountingEngine(Engine, Protocol):
    """One that can count while it predicts."""

    def load_counting(self, artifact: Path, counted: dict[str, int]) -> "Predict":
        """`load`, slower; what is worth a line in the metrics is added up in `counted`."""


def learn_nothing(ingredients: Ingredients, params: Any) -> None:
    """Most variants need no training rows."""


def library() -> str:
    """What multiplies where the machine makes no difference: what the engine brings along."""
    return "library"


@dataclass(frozen=True)
class Variant(Generic[Params]):
    """One way to store and run a fine-tuned model.

    Attributes:
        params: type of `quantize.<name>` in params.yaml.
        build: writes the weights into a folder where configuration and tokenizer already lie; a
            table `sensitivity.csv` there becomes a plot. Raises Skipped where it cannot run.
        runs_on: name of the module that runs it, an `Engine`; imported when it is needed first.
        calibrate: writes into `ingredients.learned` what the variant learns from training rows
            before it is built: ranges, sensitivities, trained weights. Most learn nothing.
        kernel: what multiplies on this machine, where that depends on it.
        counts: its engine is a `CountingEngine`.
        needs: TORCH, ONNX_RUNTIME or OWN_LIBRARY.
        ships: False for a reference that stands in the tables alone; its engine refuses to export.
    """

    params: type[Params]
    build: Callable[[Ingredients, Path, Params], None]
    runs_on: str
    calibrate: Callable[[Ingredients, Params], None] = learn_nothing
    kernel: Callable[[], str] = library
    counts: bool = False
    needs: str = TORCH
    ships: bool = True

    @cached_property
    def engine(self) -> Engine:
        return cast(Engine, importlib.import_module(self.runs_on))

    def load_counting(self, artifact: Path, counted: dict[str, int]) -> "Predict":
        """To predict, and to count where the engine can; `counted` stays empty where it cannot."""
        if self.counts:
            return cast(CountingEngine, self.engine).load_counting(artifact, counted)
        return self.engine.load(artifact)


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def module_of(name: str) -> str:
    """The module that defines the variant called `name`.

    Raises:
        UserError: there is no such file or folder in stages/variants/.
    """
    if name not in names():
        raise UserError(f"unknown variant '{name}'; {nearest(name, names())}")
    return f"{__name__}.{name}"


def get(name: str) -> Variant[Any]:
    """The variant called `name`; raises UserError if there is none."""
    defined: Variant[Any] = importlib.import_module(module_of(name)).VARIANT
    return defined


def build_artifact(
    name: str, ingredients: Ingredients, params: VariantParams, folder: Path
) -> Manifest:
    """Calibrate and build the variant called `name` in the empty `folder`, count, compare, write.

    `ingredients.learned` is a scratch folder that exists while this runs, and nothing else's.

    Raises:
        UserError: not one operator is quantized, its answers are far from fp32's, or the variant's
            own reason.
    """
    from stages.engines.safe_l.families import FAMILIES
    from stages.model.nearness import nearness_to_fp32  # brings torch along

    variant, facts = get(name), params.model_dump()
    copy_without_weights(ingredients.checkpoint, folder)
    try:
        with scratch_folder(ingredients.learned):
            variant.calibrate(ingredients, params)
            variant.build(ingredients, folder, params)
        write_manifest(folder, name, facts)  # which loading reads
        count, predict = variant.engine.count_quantized(folder), variant.engine.load(folder)
        near = nearness_to_fp32(predict, ingredients)
    except Skipped as reason:
        return write_manifest(folder, name, facts, skipped=str(reason))
    except UserError:
        raise
    except Exception as error:
        kind = read_json(ingredients.checkpoint / "config.json")["model_type"]
        if name == REFERENCE or kind in FAMILIES or of_the_machine(error):
            raise
        # A library's, on an architecture that it does not know. The others go on.
        for path in folder.iterdir():
            path.unlink()
        copy_without_weights(ingredients.checkpoint, folder)
        why = f"{name} cannot be built of a {kind} ({in_short(error)}); docs/families.md has others"
        return write_manifest(folder, name, facts, skipped=why)
    if count == 0 and name != REFERENCE:
        raise UserError(
            f"{name} of {ingredients.task.name} has no quantized operator: it is fp32 under "
            "another name; correct its parameters, or take it out of 'quantize' in params.yaml"
        )
    # Logits of random weights hardly differ from text to text, so any rounding is far for them.
    trained = read_recipe(ingredients.checkpoint).weights != "random"
    limits = params.max_distance_from_fp32, params.max_other_answers_pct
    if trained and not (near.distance <= limits[0] and near.other_answers_pct <= limits[1]):
        raise UserError(
            f"{name} of {ingredients.task.name} does not give fp32's answers: on training rows its "
            f"logits are off by {near.distance:.2f} of their size (at most quantize.{name}."
            f"max_distance_from_fp32, {limits[0]:g}) and {near.other_answers_pct:.0f} % of its "
            f"answers are others (at most max_other_answers_pct, {limits[1]:g}); this kind of "
            "model does not bear it: take it out of 'quantize', or raise that limit to see how bad "
            "it is"
        )
    return write_manifest(
        folder, name, facts, quantized_ops=count, distance_from_fp32=near.distance
    )
