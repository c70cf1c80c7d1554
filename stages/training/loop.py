"""The training loop of `finetune` and quantization-aware training: seeded, resumable, one bar."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np

from stages.model.tokens import Tokens
from stages.plumbing.disk import need_room
from stages.plumbing.files import remove, write_text
from stages.plumbing.imports import checksum_of
from stages.plumbing.manifest import MANIFEST, Damaged, verify_folder, write_checksums
from stages.plumbing.memory import keep_freed_memory

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

# Checkpoints of unfinished trainings; outside the outs, which DVC empties before each run.
UNFINISHED = Path(".training")
CHECKPOINT_SIZE = 3  # times the weights: themselves, and two moments of the optimizer

# Labels, logits -> metrics.
Score = Callable[[np.ndarray, np.ndarray], dict[str, float]]
# A row's tokens and its label.
Example = dict[str, Any]


class Schedule(Protocol):
    """The part of params.yaml that the loop reads."""

    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def epochs(self) -> float: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def warmup_ratio(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


@dataclass(frozen=True)
class Trained:
    """What a training leaves besides the model's weights.

    Attributes:
        history: the Trainer's log, one entry per step and per epoch.
        validation: metrics of the trained model on the validation rows, if there are any.
        device: where it ran.
    """

    history: list[dict[str, float]]
    validation: dict[str, float]
    device: str


@dataclass(frozen=True)
class Examples(Sequence[Example]):
    """Rows to learn from, each made when it is asked for.

    Attributes:
        labels: shape (rows,), or (rows, outputs) for logits.
    """

    tokens: Sequence[Tokens]
    labels: np.ndarray

    def __post_init__(self) -> None:
        assert len(self.tokens) == len(self.labels)

    def __len__(self) -> int:
        return len(self.tokens)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> list[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | list[Example]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        return self.tokens[at] | {"labels": self.labels[at].tolist()}


def train(
    model: "nn.Module",
    tokenizer: "PreTrainedTokenizerBase",
    schedule: Schedule,
    seed: int,
    rows: Sequence[Example],
    unfinished: Path,
    code: str,
    settings: str,
    validation: Sequence[Example] | None = None,
    score: Score | None = None,
) -> Trained:
    """Train `model` in place; epochs of 0 only scores it.

    Args:
        unfinished: folder for checkpoints; a killed training continues from the last whole one.
        code: name of the module that trains; a checkpoint that other code left, of this module or
            of any that it imports, is dropped, as is one of another schedule, seed, weights, rows.
        settings: whatever else decides the result.
        validation, score: scored after each epoch and at the end; nothing is chosen by it.
    """
    from transformers import PrinterCallback, Trainer

    from stages.training.first_token import first_token_only
    from stages.training.quick_dropout import quick_dropout

    def metrics(prediction: Any) -> dict[str, float]:
        assert score is not None
        return score(prediction.label_ids, prediction.predictions)

    arguments = training_arguments(schedule, seed, unfinished, evaluates=validation is not None)
    trainer: Any = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=validation,
        data_collator=collator(tokenizer),
        compute_metrics=metrics if score else None,
        callbacks=[seal()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(progress_bar())
    history: list[dict[str, float]] = []
    if schedule.epochs > 0:
        parts: list[Any] = [checksum_of([code]), settings, numbers_of(schedule), seed]
        parts += [digest_of(model), digest_of_rows(rows)]
        keep_only_own_checkpoints(unfinished, hashlib.sha256(json.dumps(parts).encode()))
        keep_freed_memory()
        with first_token_only(model), quick_dropout(model):
            trainer.train(resume_from_checkpoint=last_checkpoint(unfinished))
        history = trainer.state.log_history
    result: dict[str, float] = {}
    if validation is not None and score is not None:
        output = trainer.predict(validation)
        # Grouped by length, the Trainer predicts in an order of its own: only its labels match.
        result = score(output.label_ids, output.predictions)
    return Trained(history, result, trainer.args.device.type)


def forget(unfinished: Path) -> None:
    """Remove the checkpoints of a training whose result is safe; before, a kill would lose it."""
    shutil.rmtree(unfinished, ignore_errors=True)


def training_arguments(schedule: Schedule, seed: int, folder: Path, evaluates: bool) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=schedule.epochs,
        max_steps=schedule.max_steps,
        learning_rate=schedule.learning_rate,
        per_device_train_batch_size=schedule.batch_size,
        per_device_eval_batch_size=32,
        warmup_steps=schedule.warmup_ratio,  # below 1 it is a share of all steps
        weight_decay=schedule.weight_decay,
        seed=seed,
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch" if evaluates else "no",
        save_strategy="epoch",
        save_total_limit=2,
        logging_steps=1,
        dataloader_pin_memory=False,
        report_to=[],
        log_level="error",
        disable_tqdm=True,  # brings in PrinterCallback, which the bar replaces
    )


def collator(tokenizer: "PreTrainedTokenizerBase") -> Any:
    from transformers import DataCollatorWithPadding

    return DataCollatorWithPadding(tokenizer)


def progress_bar() -> Any:
    from transformers import ProgressCallback

    class Bar(ProgressCallback):
        """The bar alone; transformers would print a line per step as well."""

        def on_log(self, *_: Any, **__: Any) -> None: ...

    return Bar()


def seal() -> Any:
    from transformers import TrainerCallback

    class Seal(TrainerCallback):
        """A checkpoint without a manifest was cut off by a kill and is not resumed from."""

        def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            # torch's writer, of optimizer.pt, ends the process on a full disk.
            if control.should_save:
                need_room(Path(args.output_dir), CHECKPOINT_SIZE * bytes_of(more["model"]))

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            write_checksums(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    return Seal()


def bytes_of(model: "nn.Module") -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())


def numbers_of(schedule: Schedule) -> list[float]:
    return [
        schedule.batch_size,
        schedule.learning_rate,
        schedule.epochs,
        schedule.max_steps,
        schedule.warmup_ratio,
        schedule.weight_decay,
    ]


def digest_of(model: "nn.Module") -> str:
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def digest_of_rows(rows: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def keep_only_own_checkpoints(unfinished: Path, wanted: "hashlib._Hash") -> None:
    mark = unfinished / "resume_key"
    if not mark.exists() or mark.read_text() != wanted.hexdigest():
        shutil.rmtree(unfinished, ignore_errors=True)
        write_text(mark, wanted.hexdigest())


def last_checkpoint(unfinished: Path) -> str | None:
    """The last that is whole and unaltered; one that is damaged is removed, and said."""

    def step(folder: Path) -> int:
        return int(folder.name.removeprefix("checkpoint-"))

    checkpoints = (file.parent for file in unfinished.glob(f"checkpoint-*/{MANIFEST}"))
    for folder in sorted(checkpoints, key=step, reverse=True):
        try:
            verify_folder(folder)
        except Damaged as reason:
            print(f"not continued from there: {str(reason).partition(';')[0]}")
            remove(folder)
            continue
        print(f"continuing from step {step(folder)}")
        return str(folder)
    return None
