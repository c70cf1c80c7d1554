"""The training loop: one seed, one result; what makes it faster changes nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.model.tokens import encode
from stages.plumbing import imports
from stages.tasks.mrpc import DATASET
from stages.training import quick_dropout as quick
from stages.training.first_token import first_token_only
from stages.training.fit import model_inputs
from stages.training.loop import Examples, Trained, forget, train
from stages.training.model_names import resolve
from stages.training.pretrained import load
from stages.training.quick_dropout import quick_dropout
from stages.variants.int8_qat import Params
from tests.building import flip, training_rows
from tests.families import FAMILIES

TASK = DATASET.task
FAMILY = pytest.mark.parametrize("family", ["bert", *FAMILIES])
SETTINGS = Params.model_validate(
    {"batch_size": 8, "learning_rate": 1e-3, "epochs": 2, "max_steps": -1}
)


@pytest.fixture(scope="module")
def folders(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: make(tmp_path_factory.mktemp(name)) for name, make in FAMILIES.items()}
    return made | {"bert": tiny_bert}


class Fresh:
    """A model before training, and examples in its tokens."""

    def __init__(self, folder: Path) -> None:
        self.model, self.tokenizer = load(resolve(str(folder)), TASK, 0)
        rows = training_rows(40)
        self.max_length = 40
        self.inputs = model_inputs(self.model, self.tokenizer.model_input_names)
        self.rows = Examples(encode(self.tokenizer, TASK, rows, self), rows["label"].to_numpy())

    def train(self, unfinished: Path, seed: int = 0, score: Any = None) -> Trained:
        rows, held_out = self.rows[:32], self.rows[32:] if score else None
        key = ("stages.finetune", "other settings")
        settings = (SETTINGS, seed, rows, unfinished, *key, held_out, score)
        return train(self.model, self.tokenizer, *settings)

    def train_until_the_second_epoch(self, unfinished: Path) -> None:
        def score(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
            if any(unfinished.glob("checkpoint-*")):
                raise KeyboardInterrupt
            return {"mean": 0.0}

        with pytest.raises(KeyboardInterrupt):
            self.train(unfinished, score=score)

    def batch(self) -> dict[str, Tensor]:
        return dict(self.tokenizer.pad(self.rows[:6], return_tensors="pt", verbose=False))

    def weights(self) -> dict[str, Tensor]:
        return dict(self.model.state_dict())


def losses(trained: Trained) -> list[float]:
    return [entry["loss"] for entry in trained.history if "loss" in entry]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one | other)


# ---- one seed, one result


@FAMILY
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    family: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    runs = []
    for seed in (1, 1, 2):
        runs.append(Fresh(folders[family]))
        runs[-1].train(tmp_path / f"unfinished{len(runs)}", seed)
    one, again, other = (run.weights() for run in runs)
    assert same(one, again)
    assert not same(one, other)
    assert not same(one, Fresh(folders[family]).weights())


def test_an_interrupted_training_continues_to_the_same_weights(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def score(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
        return {"mean": float(logits.mean())}

    undisturbed, resumed = Fresh(folders["bert"]), Fresh(folders["bert"])
    expected = undisturbed.train(tmp_path / "a", score=score)
    Fresh(folders["bert"]).train_until_the_second_epoch(tmp_path / "b")
    result = resumed.train(tmp_path / "b", score=score)
    assert "continuing from step 4" in capsys.readouterr().out
    assert same(undisturbed.weights(), resumed.weights())
    assert result.validation == expected.validation


def test_a_whole_training_whose_result_was_not_stored_is_not_done_again(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kill between training and storing costs no training; what is stored is forgotten."""
    first, second = Fresh(folders["bert"]), Fresh(folders["bert"])
    before = first.train(tmp_path / "unfinished")
    after = second.train(tmp_path / "unfinished")
    assert "continuing from step 8" in capsys.readouterr().out
    assert same(first.weights(), second.weights())
    assert losses(before) == losses(after)
    forget(tmp_path / "unfinished")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_a_damaged_checkpoint_is_not_continued_from(
    name: str, unfinished: Path, folders: dict[str, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(unfinished, tmp_path / "unfinished")
    flip(tmp_path / "unfinished/checkpoint-4" / name)
    undisturbed, anew = Fresh(folders["bert"]), Fresh(folders["bert"])
    undisturbed.train(tmp_path / "a")
    capsys.readouterr()
    anew.train(tmp_path / "unfinished")
    said = capsys.readouterr().out
    assert f"{name} was altered\n" in said
    assert "continuing" not in said
    assert same(undisturbed.weights(), anew.weights())


@pytest.fixture(scope="module")
def unfinished(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training leaves that was killed in its second epoch."""
    folder = tmp_path_factory.mktemp("killed") / "unfinished"
    Fresh(folders["bert"]).train_until_the_second_epoch(folder)
    return folder


@pytest.mark.parametrize(
    ("edited", "continues"),
    [
        ("", True),
        ("finetune.py", False),
        ("training/loop.py", False),
        ("training/token_dropout.py", False),
        ("training/quick_dropout.py", False),  # imported within a function
        ("training/first_token.py", False),
        ("training/vocabularies.py", False),
        ("sources/pypi.py", False),  # imported by what it imports
        ("model/tokens.py", False),
        ("measure/metrics.py", False),
        ("plumbing/memory.py", True),  # nothing there changes a weight
        ("variants/int8_qat/training.py", True),
        ("evaluate.py", True),
    ],
)
def test_an_unfinished_training_goes_on_only_with_the_code_that_began_it(
    edited: str,
    continues: bool,
    unfinished: Path,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(unfinished, tmp_path / "unfinished")
    shutil.copytree(imports.ROOT / "stages", tmp_path / "stages")
    monkeypatch.setattr(imports, "ROOT", tmp_path)
    if edited:
        with (tmp_path / "stages" / edited).open("a") as file:
            file.write("# another line\n")
    Fresh(folders["bert"]).train(tmp_path / "unfinished")
    assert ("continuing from step 4" in capsys.readouterr().out) == continues


def test_a_trained_model_is_left_as_it_came(folders: dict[str, Path], tmp_path: Path) -> None:
    """All that makes training faster is gone afterwards: the hook, the attention, the dropout."""
    fresh, before = Fresh(folders["bert"]), functional.dropout
    attention = fresh.model.config._attn_implementation
    fresh.train(tmp_path / "unfinished")
    assert fresh.model.config._attn_implementation == attention
    assert not any(module._forward_hooks for module in fresh.model.modules())
    assert functional.dropout is before
    torch.manual_seed(0)
    expected = functional.dropout(torch.ones(100))
    torch.manual_seed(0)
    assert not torch.equal(quick.dropout(torch.ones(100)), expected)


# ---- only the first token after the last attention


def without_dropout(model: nn.Module) -> nn.Module:
    for child in model.modules():
        if isinstance(child, nn.Dropout):
            child.p = 0.0
    return model.train()


@FAMILY
def test_leaving_out_the_other_tokens_changes_neither_loss_nor_gradients(
    family: str, folders: dict[str, Path]
) -> None:
    gradients = []
    for leaves_out in (False, True):
        fresh = Fresh(folders[family])
        model: Any = without_dropout(fresh.model)
        assert (fresh.batch()["attention_mask"] == 0).any()
        if leaves_out:
            with first_token_only(model):
                loss = model(**fresh.batch()).loss
        else:
            loss = model(**fresh.batch()).loss
        loss.backward()
        used = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        gradients.append(used | {"loss": loss.detach()})
    everything, first = gradients
    assert everything.keys() == first.keys()
    for name in everything:
        torch.testing.assert_close(first[name], everything[name], msg=name, atol=1e-6, rtol=1e-4)


@FAMILY
def test_the_last_layer_computes_one_token_where_the_family_reads_one(
    family: str, folders: dict[str, Path]
) -> None:
    model, batch = Fresh(folders[family]).model, Fresh(folders[family]).batch()
    rows = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        rows.append(output.shape[:-1].numel())

    widest = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 64]
    for module in widest:
        module.register_forward_hook(note)
    with first_token_only(model):
        model(**batch)
    texts, length = batch["input_ids"].shape
    if family == "xlnet":
        assert set(rows) == {texts * length}
    else:
        assert rows == [texts * length, texts]


@FAMILY
def test_all_dropout_of_a_model_is_the_quick_one(
    family: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both doing nothing a model in training answers as outside; so there is no third."""
    fresh = Fresh(folders[family])
    expected = fresh.model.eval()(**fresh.batch()).logits
    monkeypatch.setattr(quick, "dropout", lambda x, *_, **__: x)
    with quick_dropout(fresh.model):
        found = fresh.model.train()(**fresh.batch()).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


# ---- memory

FAULTS = """
import json, resource, torch
from stages.plumbing.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.zeros(12_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
torch.set_num_threads(1)
first = faults()
keep_freed_memory()
faults()
print(json.dumps([first, faults()]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told")
def test_freed_memory_is_used_again() -> None:
    """Blocks of 48 MB, one after another: the kernel gives pages for the first at most."""
    result = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    before, after = json.loads(result.stdout)
    assert after < 100 < 1000 < before
