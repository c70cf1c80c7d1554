"""The same bits: everything that runs an integer model gives the integers of the NumPy judge."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stages import variants
from stages.engines.ibert import engine
from stages.engines.ibert.engine import RUNTIME
from stages.engines.ibert.reference import Reference, Saturations
from stages.engines.ibert.tensors import FORMAT
from stages.engines.runtime import library, packed_file
from stages.engines.runtime.compiling import Build
from stages.engines.runtime.shipped.classify import WEIGHTS, CannotRun, Model
from stages.plumbing.command import UserError
from tests.building import as_if_trained, batch, build, make_ingredients
from tests.families import FAMILIES
from tests.integer_models import ODD_SIZES, random_model, random_texts

KERNELS = ("avx2", "vnni", "amx", "c99")
pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
HERE = Path(engine.__file__).parent


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(weights: Path, kernel: str) -> Model:
    try:
        return Model(RUNTIME.library(), weights, kernel)
    except CannotRun as reason:
        pytest.skip(str(reason))


def run(
    model: Model, ids: list, types: list | None, threads: int = 1, **more: object
) -> np.ndarray:
    starts = np.cumsum([0, *(len(text) for text in ids)])
    flat = None if types is None else np.concatenate(types)
    return model.raw(np.concatenate(ids), starts, flat, threads, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("sizes", ODD_SIZES.values(), ids=ODD_SIZES.keys())
def test_models_of_odd_sizes(
    sizes: packed_file.Sizes, wild: bool, kernel: str, tmp_path: Path
) -> None:
    file = random_model(tmp_path / "model.safetensors", sizes, seed=1, wild=wild)
    model, judge = opened(file, kernel), Reference(*packed_file.read(FORMAT, file))
    longest = 600 if sizes.positions == 600 and not wild else 70
    ids, types = random_texts(sizes, 2, longest)
    expected = judge(ids, types)
    if not wild:  # else there is nothing to compare
        assert len({tuple(row) for row in expected.tolist()}) > len(ids) // 2
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(run(model, ids, types, threads), expected)
    alone = [run(model, [one], [its]) for one, its in zip(ids, types, strict=True)]
    np.testing.assert_array_equal(np.concatenate(alone), expected)
    np.testing.assert_array_equal(run(model, ids, None), judge(ids))


def test_what_is_cut_is_counted(kernel: str, tmp_path: Path) -> None:
    sizes = packed_file.Sizes(
        64, 2, 2, 128, 99, 80, 2, 0, 9, 0, 0
    )  # whole panels: no junk behind n
    file = random_model(tmp_path / "model.safetensors", sizes, seed=3, wild=True)
    model, (ids, types) = opened(file, kernel), random_texts(sizes, 4)
    cuts, seen = np.zeros(1, np.int64), Saturations()
    expected = Reference(*packed_file.read(FORMAT, file))(ids, types, seen)
    np.testing.assert_array_equal(run(model, ids, types, cuts=cuts), expected)
    assert cuts[0] == (0 if kernel == "c99" else sum(seen.values()))
    assert seen


@pytest.fixture(scope="module")
def artifacts(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of each family that ibert knows, built as stage quantize does."""
    built = {}
    for family in ("bert", "distilbert", "roberta"):
        folder = tmp_path_factory.mktemp(family)
        model = tiny_bert if family == "bert" else FAMILIES[family](folder / "fresh")
        inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (family == "bert")
        ingredients = make_ingredients(as_if_trained(model, folder / "model"), folder, inputs)
        built[family] = build("ibert", ingredients, folder / "ibert")
    return built


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_each_family_padded_and_not_forced_and_not(
    family: str, artifacts: dict[str, Path], kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, texts = variants.get("ibert").engine, batch(rows=6)
    if family != "bert":
        texts.pop("token_type_ids")
    monkeypatch.setenv("IBERT_KERNEL", "numpy")
    expected = engine.load(artifacts[family])(texts)
    monkeypatch.setenv("IBERT_KERNEL", kernel)
    try:
        predict = engine.load(artifacts[family])
    except UserError as reason:
        pytest.skip(str(reason))
    np.testing.assert_array_equal(predict(texts), expected)
    wider = {name: np.pad(array, ((0, 0), (0, 9))) for name, array in texts.items()}
    np.testing.assert_array_equal(predict(wider), expected)
    rows = [{name: array[i : i + 1] for name, array in texts.items()} for i in range(6)]
    np.testing.assert_array_equal(np.concatenate([predict(row) for row in rows]), expected)


def test_without_a_compiler_numpy_gives_the_same(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = variants.get("ibert").engine
    expected = engine.load(artifacts["bert"])(batch())

    def none(_: Build) -> Path:
        raise CannotRun("the runtime cannot be compiled: there is no c++")

    monkeypatch.setattr(library, "library_of", none)
    np.testing.assert_array_equal(engine.load(artifacts["bert"])(batch()), expected)
    assert "NumPy computes the same, but slowly" in capsys.readouterr().err
    monkeypatch.setenv("IBERT_KERNEL", "avx2")
    with pytest.raises(UserError, match=r"IBERT_KERNEL=avx2 cannot run here.*no c\+\+"):
        engine.load(artifacts["bert"])


def test_a_damaged_file_is_refused(artifacts: dict[str, Path], tmp_path: Path) -> None:
    whole = (artifacts["bert"] / WEIGHTS).read_bytes()
    for name, content in {
        "half": whole[: len(whole) // 2],
        "one byte less": whole[:-1],
        "one byte more": whole + b"0",
        "nothing": b"",
        "another format": b"\x10" + bytes(400),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CannotRun, match=name):
            Model(RUNTIME.library(), tmp_path / name)
    with pytest.raises(CannotRun, match="cannot be opened"):
        Model(RUNTIME.library(), tmp_path / "absent")
    with pytest.raises(CannotRun, match="this CPU cannot run neon"):
        Model(RUNTIME.library(), artifacts["bert"] / WEIGHTS, "neon")


def test_sizes_that_only_other_models_have_change_no_answer(
    artifacts: dict[str, Path], kernel: str, tmp_path: Path
) -> None:
    """In the last places of `model`: int8_fast reads there which weights layers share."""
    whole = bytearray((artifacts["bert"] / WEIGHTS).read_bytes())
    ids, types = [[2, 5, 6, 3], [2, 3]], [[0, 0, 0, 0], [0, 0]]
    expected = run(opened(artifacts["bert"] / WEIGHTS, kernel), ids, types)
    model = 8 + int.from_bytes(whole[:8], "little")
    for place in range(packed_file.MODEL_SCALARS - 3, packed_file.MODEL_SCALARS):
        whole[model + 4 * place] = 1
    (tmp_path / "damaged").write_bytes(whole)
    np.testing.assert_array_equal(run(opened(tmp_path / "damaged", kernel), ids, types), expected)


@pytest.mark.parametrize(
    ("ids", "types", "complaint"),
    [
        ([5, 99999], None, "not in the model's vocabulary"),
        ([5, -1], None, "not in the model's vocabulary"),
        ([5, 6], [0, 7], "token type"),
        ([], None, "no token"),
        ([5] * 65, None, "more tokens than the model has positions"),
    ],
)
def test_what_the_tables_do_not_have_is_refused(
    ids: list[int], types: list[int] | None, complaint: str, artifacts: dict[str, Path]
) -> None:
    model = Model(RUNTIME.library(), artifacts["bert"] / WEIGHTS)
    with pytest.raises(ValueError, match=complaint):
        model.raw(
            np.array(ids), np.array([0, len(ids)]), None if types is None else np.array(types)
        )


def compiled_twin(folder: Path, *command: str) -> Path:
    """The command line program of c99/, by the compiler and flags in `command`."""
    target = folder / "ibert_c99"
    sources = [str(HERE / "c99" / name) for name in ("ibert.c", "main.c")]
    done = subprocess.run([*command, *sources, "-o", str(target)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def differing(program: list[str], file: Path, seed: int) -> int:
    """Logits in which the program and the judge differ, over random texts."""
    sizes, tensors = packed_file.read(FORMAT, file)
    ids, types = random_texts(sizes, seed)
    lines = [
        " ".join(map(str, one)) + " | " + " ".join(map(str, its))
        for one, its in zip(ids, types, strict=True)
    ]
    command = [*program, str(file)]
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.array([[int(word) for word in line.split()] for line in done.stdout.splitlines()])
    return int((found != Reference(sizes, tensors)(ids, types)).sum())


PLAIN = ["-std=c99", "-O2", "-Wall", "-Wextra", "-pedantic", "-Werror"]


@pytest.mark.parametrize(
    ("compiler", "runner"),
    [
        (["gcc", "-mgeneral-regs-only"], []),
        (["gcc", "-fsanitize=undefined,address", "-fno-sanitize-recover"], []),
        (["aarch64-linux-gnu-gcc", "-static"], ["qemu-aarch64"]),
        (["arm-linux-gnueabi-gcc", "-static"], ["qemu-arm"]),
    ],
    ids=["general registers alone", "sanitized", "AArch64", "soft-float ARM"],
)
def test_the_twin_in_c99(compiler: list[str], runner: list[str], tmp_path: Path) -> None:
    missing = [tool for tool in (compiler[0], *runner) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"without {', '.join(missing)}")
    twin = compiled_twin(tmp_path, *compiler, *PLAIN)
    for name in ("small", "as TinyBERT"):
        for wild in (False, True):
            file = random_model(tmp_path / "model.safetensors", ODD_SIZES[name], 5, wild)
            assert differing([*runner, str(twin)], file, 6) == 0
