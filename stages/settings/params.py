"""params.yaml as types. Unknown keys and wrong types are errors that name the nearest valid key.

No defaults: everything that a result depends on stands in params.yaml, where DVC tracks it. (A
`token_dropout` that is not named is none, and a `vocabulary` all of it.)
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
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
from stages.plumbing import names
from stages.plumbing.command import UserError, nearest
from stages.plumbing.section import (
    BatchSize,
    Distinct,
    Epochs,
    LearningRate,
    Section,
    Steps,
    WarmupRatio,
    WeightDecay,
)
from stages.plumbing.yaml_file import read_yaml
from stages.sources.own_file.csv_file import CsvFile
from stages.training.label_order import classes_of
from stages.variants import VariantParams

PARAMS_FILE = Path("params.yaml")
AUTO = "auto"  # export.variant: let the comparison decide
Model = TypeVar("Model", bound=BaseModel)


class DownloadGlue(Section):
    sources: Annotated[list[Literal["mirror", "hub", "site"]], Field(min_length=1), Distinct]
    mirror: str
    counts: Literal["published", "any"]


class TrainingSettings(Section):
    """How one task is fine-tuned: `finetune.<task>`; a checkpoint needs no more than its name.

    Attributes:
        max_length: in tokens; None, of a checkpoint: as many as it takes, 512 at most.
    """

    model: str
    checkpoint: str
    max_length: Annotated[int, Field(ge=4, le=100_000)] | None
    batch_size: BatchSize
    learning_rate: LearningRate
    epochs: Epochs
    max_steps: Steps
    warmup_ratio: WarmupRatio
    weight_decay: WeightDecay
    # used: of the model's pieces those alone that the training texts need.
    vocabulary: Literal["all", "used"] = "all"
    token_dropout: float = Field(default=0, ge=0, lt=1)  # share of the tokens hidden in training

    @model_validator(mode="before")
    @classmethod
    def nothing_to_train(cls, given: Any) -> Any:
        """What a checkpoint does not need."""
        return NOT_TRAINED | given if isinstance(given, dict) and given.get("checkpoint") else given

    @field_validator("checkpoint")
    @classmethod
    def one_model(cls, checkpoint: str, info: ValidationInfo) -> str:
        if not checkpoint.strip() and not info.data.get("model", "no").strip():
            raise ValueError("neither 'model' nor 'checkpoint' names one; name one of them")
        return checkpoint

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
    # Whole numbers: DVC calls a folder after what stands there, be it 1.0 or yes.
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, le=names.MOST)]], Field(min_length=1), Distinct
    ]


class Evaluate(Section):
    batch_size: BatchSize
    min_other_answers_pct: float = Field(ge=0, le=100)
    padding: Literal["longest", "max_length"]


class Latency(Section):
    # No machine has more than some hundred cores.
    threads: Annotated[
        list[Annotated[int, Field(ge=1, le=512)] | Literal["all"]], Field(min_length=1), Distinct
    ]
    batch_sizes: Annotated[list[BatchSize], Field(min_length=1), Distinct]
    # A p90 needs 64 samples at 99 % confidence (MLPerf LoadGen's rule), so fewer are refused.
    queries: int = Field(ge=64, le=1_000_000)
    rounds: int = Field(ge=1, le=1000)
    warmup: int = Field(ge=1, le=100_000)
    padding: Literal["longest", "max_length"]


class Compare(Section):
    max_drop_points: float = Field(ge=0, le=100)
    bootstrap_samples: int = Field(ge=100, le=10_000_000)
    confidence: float = Field(gt=0.5, lt=1)
    price_per_core_hour: float = Field(ge=0, le=1_000_000)

    @field_validator("confidence")
    @classmethod
    def within_the_samples(cls, confidence: float, info: ValidationInfo) -> float:
        beyond = info.data.get("bootstrap_samples", 10_000_000) * (1 - confidence) / 2
        if beyond < 1:
            raise ValueError(
                "not one of bootstrap_samples lies beyond an interval's end then; raise them, or "
                "lower this"
            )
        return confidence


class Export(Section):
    variant: str
    # What auto chooses among; onnx: what was timed in ONNX Runtime.
    needs: Literal["any", "onnx", "no-compiler"]


def is_task(name: str) -> str:
    names.check("task", name)
    return name


class Params(Section):
    tasks: Annotated[list[Annotated[str, AfterValidator(is_task)]], Field(min_length=1), Distinct]
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
    trainings = params.finetune.__pydantic_extra__
    check_names("task", "csv", params.csv)
    check_names("task", "finetune", trainings)
    check_names("variant", "quantize", params.quantize)
    for name in params.csv:
        check_own_name(name)
    for task in params.tasks:
        tasks.module_of(task, params.csv)
        check_training(task, params)
    for task in trainings:
        check_known(task, params)
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


def check_names(kind: str, section: str, given: Iterable[str]) -> None:
    """Raises UserError for a key of a section that can be no name."""
    for name in given:
        try:
            names.check(kind, name)
        except ValueError as error:
            raise UserError(f"{PARAMS_FILE}: {section}: {error}") from None


def check_known(task: str, params: Params) -> None:
    """Raises UserError for training settings of no task: nothing would ever read them."""
    try:
        tasks.module_of(task, params.csv)
    except UserError as error:
        raise UserError(f"{PARAMS_FILE}: finetune.{task}: {error}") from None


def check_own_name(name: str) -> None:
    """Raises UserError for a name under `csv` that is a built-in task's, or a second name."""
    if name in tasks.names():
        raise UserError(
            f"{PARAMS_FILE}: csv.{name} has the name of a built-in task; give it another one"
        )
    if base_of(name) != name:
        raise UserError(
            f"{PARAMS_FILE}: csv.{name} is no name for a file's task; leave out the second "
            "underscore (what follows two names other settings of the same task)"
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
