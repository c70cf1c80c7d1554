"""The base of what params.yaml is validated with, and the numbers that stand there often.

Each has a range: what lies outside is a slip of the hand, and would be found hours later.
"""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A section of params.yaml: unknown keys are refused, values cannot change once read.

    Values are what they are written as: `true` is no 1, `"16"` no number and 2.0 none that counts,
    as DVC would show another value than is used; infinity and NaN are no numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


List = TypeVar("List", bound=Sequence[object])


def distinct(values: List) -> List:
    """Raises ValueError for what stands there twice."""
    seen: list[object] = []
    for value in values:
        if value in seen:
            raise ValueError(f"{value!r} stands there twice; name each once")
        seen.append(value)
    return values


def all_or_some(steps: int) -> int:
    if steps != -1 and steps < 1:
        raise ValueError("how many steps are trained at most: 1 or more, or -1 for all epochs")
    return steps


Distinct = AfterValidator(distinct)
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
Rows = Annotated[int, Field(ge=1, le=10_000_000)]
LearningRate = Annotated[float, Field(gt=0, le=0.1)]  # AdamW's, which diverges far below
Epochs = Annotated[float, Field(ge=0, le=10_000)]
Steps = Annotated[int, AfterValidator(all_or_some)]
WarmupRatio = Annotated[float, Field(ge=0, lt=1)]
WeightDecay = Annotated[float, Field(ge=0, le=1)]
