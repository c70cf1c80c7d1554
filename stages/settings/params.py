"""params.yaml as types. Unknown keys and wrong types are errors that name the nearest valid key.

No defaults: everything that a result depends on stands in params.yaml, where DVC tracks it. (A
`token_dropout` that is not named is none, and a `vocabulary` all of it.)
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from stages import tasks, variants
from stages.dataset.dataset import Dataset
from stages.dataset.task import base_of
from stages.plumbing.command import UserError, nearest
from stages.plumbing.section import Section
from stages.plumbing.yaml_file import read_yaml
from stages.sources.own_file.csv_file import CsvFile
from stages.training.label_order import classes_of
from stages.variants import VariantParams

PARAMS_FILE = Path("params.yaml")
AUTO = "auto"  # export.variant: let the comparison decide
Model = TypeVar("Model", bound=BaseModel)


class DownloadGlue(Section):
    sources: Annotated[list[Literal["mirror", "hub", "site"]], Field(min_length=1)]
    mirror: str
    counts: Literal["published", "any"]


class TrainingSettings(Section):
    """How one task is fine-tuned: `finetune.<task>`; a checkpoint needs no more than its name.

    Attributes:
        max_length: in tokens; None, of a checkpoint: as many as it takes, 512 at most.
    """

    model: str
    checkpoint: str
    max_length: Annotated[int, Field(ge=4)] | None
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    epochs: float = Field(ge=0)
    max_steps: int
    warmup_ratio: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    # used: of the model's pieces those alone that the training texts need.
    vocabulary: Literal["all", "used"] = "all"
    token_dropout: float = Field(default=0, ge=0, lt=1)  # share of the tokens hidden in training

    @model_validator(mode="before")
    @classmethod
    def nothing_to_train(cls, given: Any) -> Any:
        """What a checkpoint does not need."""
        return NOT_TRAINED | given if isinstance(given, dict) and given.get("checkpoint") else given

    @field_validator("max_length")
    @classmethod
    def said(cls, length: int | None, info: ValidationInfo) -> int | None:
        if length is None and not info.data.get("checkpoint"):
            raise ValueError("how many tokens of a text are read must be said; 128 is usual")
        return length


NOT_TRAINED = {
    "model": "",
    "max_length": None,
    "batch_size": 32,
    "learning_rate": 1e-5,
    "epochs": 0,
    "max_steps": -1,
    "warmup_ratio": 0,
    "weight_decay": 0,
}


class Finetune(Section):
    """`seeds`, and the training settings of each task."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, TrainingSettings] = Field(init=False)

    # The first one's model is timed and ships; the others are evidence.
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]

    @field_validator("seeds")
    @classmethod
    def distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands there twice; name each once")
        return seeds


class Evaluate(Section):
    batch_size: int = Field(ge=1)
    min_other_answers_pct: float = Field(ge=0, le=100)
    padding: Literal["longest", "max_length"]


class Latency(Section):
    threads: Annotated[list[Annotated[int, Field(ge=1)] | Literal["all"]], Field(min_length=1)]
    batch_sizes: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    # A p90 needs 64 samples at 99 % confidence (MLPerf LoadGen's rule), so fewer are refused.
    queries: int = Field(ge=64)
    rounds: int = Field(ge=1)
    warmup: int = Field(ge=1)
    padding: Literal["longest", "max_length"]


class Compare(Section):
    max_drop_points: float = Field(ge=0)
    bootstrap_samples: int = Field(ge=100)
    confidence: float = Field(gt=0.5, lt=1)
    price_per_core_hour: float = Field(ge=0)


class Export(Section):
    variant: str
    # What auto chooses among; onnx: what was timed in ONNX Runtime.
    needs: Literal["any", "onnx", "no-compiler"]


class Params(Section):
    tasks: Annotated[list[str], Field(min_length=1)]
    csv: dict[str, CsvFile]
    download_glue: DownloadGlue
    finetune: Finetune
    quantize: dict[str, dict[str, Any]]
    evaluate: Evaluate
    latency: Latency
    compare: Compare
    export: Export

    def dataset(self, task: str) -> Dataset:
        """Where a task's rows come from.

        Raises:
            UserError: there is no such task.
        """
        checkpoint, base = self.training(task).checkpoint, base_of(task)
        if not checkpoint or base not in self.csv:
            return tasks.dataset(task, self.csv)
        own = self.csv | {base: self.csv[base].as_it_is_scored()}
        return tasks.dataset(task, own, lambda: classes_of(checkpoint))

    def training(self, task: str) -> TrainingSettings:
        """The training settings of one task.

        Raises:
            UserError: there are none.
        """
        known = self.finetune.__pydantic_extra__
        if task not in known:
            raise UserError(
                f"{PARAMS_FILE}: task '{task}' has no training settings; add a section "
                f"finetune.{task}, copied from {next(iter(known), 'another task')}"
            )
        return known[task]

    def variant(self, name: str) -> VariantParams:
        """The validated parameters of one variant.

        Raises:
            UserError: there is no such variant, or it is not listed under `quantize`.
        """
        if name not in self.quantize:
            variants.get(name)
            raise UserError(
                f"{PARAMS_FILE}: '{name}' is not listed under 'quantize'; add '{name}: {{}}' there"
            )
        return parse(variants.get(name).params, self.quantize[name], f"quantize.{name}")


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check the whole file, so that a typo is found before the first stage, not the last.

    Raises:
        UserError: missing or broken file, unknown key, wrong type, unknown task or variant.
    """
    try:
        raw = read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run from the folder that holds dvc.yaml") from None
    params = parse(Params, raw, "")
    for name in params.csv:
        check_own_name(name)
    for task in params.tasks:
        tasks.module_of(task, params.csv)
        check_training(task, params)
    for name in params.quantize:
        params.variant(name)
    if variants.REFERENCE not in params.quantize:
        raise UserError(
            f"{path}: 'quantize' lacks '{variants.REFERENCE}', which every variant is compared "
            f"with; add the line '{variants.REFERENCE}: {{}}' under it"
        )
    if params.export.variant not in [AUTO, *params.quantize]:
        raise UserError(
            f"{path}: export.variant is '{params.export.variant}', which is not listed under "
            f"'quantize'; {nearest(params.export.variant, [AUTO, *params.quantize])}"
        )
    return params


def check_training(task: str, params: Params) -> None:
    """Raises UserError for settings that do not go together."""
    checkpoint, base = params.training(task).checkpoint, base_of(task)
    if checkpoint and len(params.finetune.seeds) > 1:
        raise UserError(
            f"{PARAMS_FILE}: finetune.seeds has {len(params.finetune.seeds)} seeds, but "
            f"finetune.{task}.checkpoint is one model, which nobody trains; leave one seed"
        )
    own = params.csv.get(base)
    if own and not own.train and not checkpoint:
        raise UserError(
            f"{PARAMS_FILE}: csv.{base}.train is missing; name the file to train on, or an already "
            f"fine-tuned model in finetune.{task}.checkpoint"
        )
    if own and not own.train and not own.validation:
        raise UserError(f"{PARAMS_FILE}: csv.{base} names no file; name one in 'validation'")


def check_own_name(name: str) -> None:
    """Raises UserError for a name under `csv` that can be no folder's or is a built-in task's."""
    if name in tasks.names():
        raise UserError(
            f"{PARAMS_FILE}: csv.{name} has the name of a built-in task; give it another one"
        )
    if not re.fullmatch(r"[a-z0-9_]+", name) or "__" in name:
        raise UserError(
            f"{PARAMS_FILE}: csv.{name} is no name for a task; take small letters, digits and "
            "single underscores (what follows '__' names other settings of the same task)"
        )


def parse(model: type[Model], raw: Any, where: str) -> Model:
    """Validate `raw`; the first problem becomes one line.

    Raises:
        UserError: names the key, the value, and the nearest valid key or the expected type.
    """
    try:
        return model.model_validate({} if raw is None else raw)
    except ValidationError as error:
        # A misspelt key is also a missing one; the misspelling is what the user must see.
        problem = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    path = [where] if where else []
    path += [str(part) for part in problem["loc"] if not is_union_branch(part)]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        siblings = fields_at(model, problem["loc"][:-1])
        raise UserError(
            f"{PARAMS_FILE}: unknown key '{key}'; {nearest(str(problem['loc'][-1]), siblings)}"
        )
    if problem["type"] == "missing":
        raise UserError(f"{PARAMS_FILE}: key '{key}' is missing; add it")
    raise UserError(f"{PARAMS_FILE}: {key or 'the file'} is {problem['input']!r}: {problem['msg']}")


def is_union_branch(part: int | str) -> bool:
    """pydantic puts the tried type of a union into the error's location; users need no such."""
    return isinstance(part, str) and ("constrained" in part or "literal" in part or part == "int")


def fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Field names of the model that `location` (a pydantic error's path) ends in."""
    for part in location:
        if not isinstance(part, str):
            continue
        if part in model.model_fields:
            annotation = model.model_fields[part].annotation
        else:  # a key of the user's own, such as a task's settings under finetune
            annotation = model.__annotations__.get("__pydantic_extra__")
        arguments = getattr(annotation, "__args__", ())
        models = [a for a in (annotation, *arguments) if is_model(a)]
        if models:
            model = models[0]
    return list(model.model_fields)


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
