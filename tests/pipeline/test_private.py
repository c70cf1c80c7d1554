"""What stages write goes to git, to a remote, to a customer: whose machine it was is not in it."""

import os
import shutil
from pathlib import Path

from tests.pipeline.conftest import Repo

NAME, TOKEN = "jane-of-the-test", "a-token-of-the-test"
WRITTEN = ("data", "metrics", "models", "reports", "exports")


def test_neither_home_nor_name_nor_token_is_written_and_every_file_has_one_mode(
    fresh: Repo, tmp_path: Path
) -> None:
    repo, home = fresh.copy(tmp_path / "project"), tmp_path / NAME
    shutil.copytree(repo.folder / "tiny-bert", home / "model")
    repo.environment |= {"HOME": str(home), "USER": NAME, "LOGNAME": NAME, "HF_TOKEN": TOKEN}
    repo.environment.setdefault("XDG_CACHE_HOME", str(Path("~/.cache").expanduser()))
    variants = {"fp32": {}, "int8_dynamic": {"engine": "x86"}}
    model = {"finetune": {"seeds": [42], "mrpc": {"model": str(home / "model"), "epochs": 1}}}
    repo.set_params(model, quantize=variants)
    said = "".join(
        repo.run("python", "-m", *f"stages.{stage}".split())
        for stage in (
            "code",
            "environment",
            "download_glue mrpc",
            "finetune mrpc 42",
            *(f"quantize mrpc 42 {name}" for name in variants),
            "size_report mrpc",
            *(f"evaluate mrpc 42 {name}" for name in variants),
            "latency mrpc",
            "compare mrpc",
            "export mrpc",
            "summary",
        )
    )
    files = [path for root in WRITTEN for path in (repo.folder / root).rglob("*")]
    contents = {path: path.read_bytes() for path in files if path.is_file()} | {home: said.encode()}
    private = [str(tmp_path), NAME, TOKEN]
    assert len(contents) > 50
    assert [
        (path.name, word)
        for path, content in contents.items()
        for word in private
        if word.encode() in content
    ] == []
    mask = os.umask(0o022)
    os.umask(mask)
    modes = {oct(path.stat().st_mode & 0o777) for path in files if path.is_file()}
    assert modes <= {oct(0o666 & ~mask), oct(0o777 & ~mask)}
    assert {oct(path.stat().st_mode & 0o777) for path in files if path.is_dir()} == {
        oct(0o777 & ~mask)
    }
