"""The base of everything that params.yaml is validated with."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of params.yaml: unknown keys are refused, values cannot change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
