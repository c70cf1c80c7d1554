"""A fine-tuned model, a labelled file, and what each tool has to be told of them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.plumbing.command import UserError
from stages.plumbing.files import sha256
from stages.plumbing.json_file import read_json
from stages.sources.own_file import columns
from stages.sources.own_file.columns import Columns
from stages.sources.own_file.delimited import Dialect
from stages.sources.own_file.labels import spelling
from stages.sources.own_file.table import Table
from stages.training.label_order import classes_of


@dataclass(frozen=True)
class Job:
    """Attributes:
    model: a folder as transformers saves it.
    data: a CSV whose labels are the model's own names of its classes.
    """

    model: Path
    data: Path

    @classmethod
    def given(cls, model: str, data: str) -> "Job":
        """Raises UserError where there is no such folder or file, or labels are not the model's."""
        if not model or not data:
            raise UserError("a model and a file are needed: make other-tools MODEL=folder DATA=csv")
        job = cls(Path(model).expanduser().absolute(), Path(data).expanduser().absolute())
        if not (job.model / "config.json").is_file():
            raise UserError(f"MODEL={model} is no folder with a config.json; give a saved model")
        if job.data.suffix.lower() != ".csv":
            raise UserError(f"DATA={data} is no .csv, which all three tools read; save it as one")
        job.table.check()
        known = {spelling(name) for name in job.classes}
        for name in job.labels:
            if spelling(name) not in known:
                raise UserError(
                    f"{job.data.name} has the label '{name}', the model's classes are "
                    f"{', '.join(job.classes)}; write their names"
                )
        return job

    @property
    def table(self) -> Table:
        return Table(str(self.data), "data", Dialect("utf-8", "", '"', ""))

    @cached_property
    def columns(self) -> Columns:
        return columns.find(self.table, Columns("", "", ""), regression=False)

    @property
    def text_columns(self) -> list[str]:
        return [name for name in (self.columns.text, self.columns.pair) if name]

    @cached_property
    def texts(self) -> list[list[str]]:
        """One or two of each row."""
        return [cells for _, cells in self.table.rows(self.text_columns)]

    @cached_property
    def labels(self) -> list[str]:
        return [cells[0] for _, cells in self.table.rows([self.columns.label])]

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the model's outputs."""
        return classes_of(str(self.model))

    @property
    def key(self) -> str:
        """Of what decides the outcome."""
        files = [*sorted(path for path in self.model.iterdir() if path.is_file()), self.data]
        return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()

    @property
    def described(self) -> dict[str, Any]:
        config = read_json(self.model / "config.json")
        names = ("model_type", "num_hidden_layers", "hidden_size")
        facts = {name: config[name] for name in names if name in config}
        weights = sum(path.stat().st_size for path in self.model.glob("*.safetensors"))
        return facts | {"fp32_mb": weights / 1e6, "data": self.data.name, "texts": len(self.texts)}

    def hidden(self, text: str, folder: Path) -> str:
        """`text` without the places of this machine."""
        places = {f"{folder.absolute()}/": "", str(self.model): "MODEL", str(self.data): "DATA"}
        for place, word in places.items():
            text = text.replace(place, word)
        return text
