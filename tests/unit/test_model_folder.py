"""Folders that hold no model that could be loaded: each is one line with its own way out."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.model.classifier import load_checkpoint, without_weights
from stages.model.tokens import load_tokenizer
from stages.plumbing.command import UserError
from stages.plumbing.faults import of_the_machine
from stages.plumbing.paths import of_user
from stages.sources.glue import mirror_folder
from stages.sources.own_file.labels import Classes
from stages.tasks import mrpc
from stages.training.model_names import resolve
from stages.training.pretrained import load

ROOT = Path(__file__).parents[2]
TASK = mrpc.DATASET.task
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 437955512\n"


@pytest.fixture
def folder(tiny_bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def as_adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    facts = {"base_model_name_or_path": "somebody/base", "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "model.safetensors").write_text(LFS), "git lfs pull"),
        (lambda f: (f / "tokenizer.json").write_text(LFS), "git lfs pull"),
        (as_adapter, r"adapter of PEFT to somebody/base; merge it with merge_and_unload"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights .* name it 'random:"),
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "is not valid JSON"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(
    change: Callable[[Path], object], message: str, folder: Path
) -> None:
    change(folder)
    with pytest.raises(UserError, match=message) as refused:
        resolve(str(folder))
    assert "\n" not in str(refused.value)


def test_random_weights_need_none(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert resolve(f"random:{folder}").weights == "random"


def test_nobody_is_told_to_load_a_pickle_unsafely(folder: Path) -> None:
    class Whatever:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("this must not run",)

    (folder / "model.safetensors").unlink()
    torch.save({"weights": Whatever()}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="no file of tensors alone") as refused:
        load(resolve(str(folder)), TASK, seed=0)
    assert "weights_only" not in str(refused.value)


def test_torchs_own_file_of_weights_is_read(folder: Path) -> None:
    file = folder / "model.safetensors"
    stored = load_file(file)
    file.unlink()
    torch.save(stored, folder / "pytorch_model.bin")
    model, _ = load(resolve(str(folder)), TASK, seed=0)
    name = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(model.state_dict()[name], stored[name])


def test_numbers_as_names_of_classes_are_generic(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": 0, "1": 1}, "label2id": {"0": 0, "1": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    load(resolve(str(folder)), TASK, seed=0, fine_tuned=True)
    assert "calls its classes 0, 1; they are taken to be" in capsys.readouterr().out


# ---- code that a model brings


@pytest.fixture
def own_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What exists once code of the model's own was run; nobody may be asked for leave."""
    mark = folder.parent / "it ran"
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: ...\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    return mark


def change(file: Path, facts: dict[str, object]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


def test_code_of_a_models_own_is_never_run(folder: Path, own_code: Path) -> None:
    auto_map = {"AutoConfig": "own.Own", "AutoModelForSequenceClassification": "own.Own"}
    change(folder / "config.json", {"model_type": "own", "auto_map": auto_map})
    with pytest.raises(UserError, match="code of its own, which is never run") as refused:
        load(resolve(str(folder)), TASK, seed=0)
    assert "trust_remote_code" not in str(refused.value)
    assert not own_code.exists()


def test_nor_is_a_tokenizers(folder: Path, own_code: Path) -> None:
    auto_map = {"AutoTokenizer": ["own.Own", "own.Own"]}
    change(folder / "tokenizer_config.json", {"tokenizer_class": "Own", "auto_map": auto_map})
    with contextlib.suppress(UserError):  # transformers may read tokenizer.json without it
        load(resolve(str(folder)), TASK, seed=0)
    assert not own_code.exists()


def test_nor_is_an_artifacts(folder: Path, own_code: Path) -> None:
    """Where somebody else wrote into it."""
    auto_map = {"AutoConfig": "own.Own", "AutoModelForSequenceClassification": "own.Own"}
    change(folder / "config.json", {"model_type": "own", "auto_map": auto_map})
    for loading in (load_checkpoint, without_weights):
        with pytest.raises(UserError, match="code of its own, which is never run") as refused:
            loading(folder)
        assert "\n" not in str(refused.value)
    with contextlib.suppress(UserError):
        load_tokenizer(folder)
    assert not own_code.exists()


def test_what_is_saved_does_not_name_that_code(folder: Path, tmp_path: Path) -> None:
    """A known family is loaded without it; who loads the export is not asked to run it either."""
    change(folder / "config.json", {"auto_map": {"AutoModel": "own.Own"}})
    change(folder / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["own.Own", None]}})
    model, tokenizer = load(resolve(str(folder)), TASK, seed=0)
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    for file in (tmp_path / "saved").glob("*.json"):
        assert "auto_map" not in file.read_text()


def test_one_place_reads_a_folder_with_transformers() -> None:
    """But for the line that a model card shows, and torch's tables of that name."""
    sources = [*(ROOT / "stages").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    calls = {
        (source.name, call)
        for source in sources
        for call in re.findall(
            r"(?:(?<!Embedding)\.from_pretrained|\.from_config)\([^()]*\)",
            source.read_text(encoding="utf-8"),
        )
    }
    assert not [name for name, call in calls if "trust_remote_code=False" not in call]
    assert {name for name, call in calls if "from_pretrained" in call} == {
        "from_folder.py",
        "model_card.py",
    }


# ---- one rule for every path of the user's


def test_home_and_variables_stand_for_what_they_hold(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("MODELS", str(folder.parent))
    for named in ("~/model", "$MODELS/model", "${MODELS}/model"):
        assert of_user(named) == folder
        assert resolve(named).location == str(folder)
    monkeypatch.setenv("GLUE_MIRROR", "$MODELS/glue")
    assert mirror_folder(None) == f"{folder.parent}/glue"  # type: ignore[arg-type]


def test_a_variable_that_is_not_set_is_not_taken_for_a_hubs_model() -> None:
    with pytest.raises(UserError, match="does not exist"):
        resolve("$NOWHERE/model")


# ---- labels


def test_hidden_labels_are_known_for_what_they_are() -> None:
    classes = Classes({"0": "no", "1": "yes"})
    with pytest.raises(ValueError, match="where labels are hidden"):
        classes["-1"]
    learning = Classes({})
    assert [learning[cell] for cell in ("-1", "0", "1")] == [0, 1, 2]  # three classes of theirs


# ---- places that cannot be written


@pytest.mark.parametrize(
    ("place", "way_out"),
    [
        ("here/models/mrpc", "the project's folder must be yours"),
        ("elsewhere/.cache/bertquant", "BERTQUANT_CACHE"),
        ("tmp/lock", "set TMPDIR"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_with_what_moves_it(
    place: str, way_out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    target = tmp_path / place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("a file, where a folder should be")
    with pytest.raises(OSError, match="Not a directory") as refused:
        (target / "below").mkdir(parents=True)
    wrapped = RuntimeError("a library's own")
    wrapped.__cause__ = refused.value
    assert str(target) in of_the_machine(wrapped)
    assert way_out in of_the_machine(wrapped)


def test_no_folder_for_temporary_files_is_said_and_other_errors_are_not() -> None:
    nowhere = FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")
    assert "set TMPDIR" in of_the_machine(nowhere)
    assert of_the_machine(FileNotFoundError(2, "No such file", "x")) == ""
    assert of_the_machine(ValueError("a fault of ours")) == ""
