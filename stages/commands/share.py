"""`make push` and `make pull`: DVC's own; where it fails, a line more that says what to set."""

import subprocess
import sys
from importlib.util import find_spec
from typing import NamedTuple

from stages.plumbing.command import UserError, fail, nearest, run_stage

ACTIONS = ["push", "pull"]
LOCAL = "'dvc remote modify --local {remote}"


class Kind(NamedTuple):
    """Of remote: what it is called, what makes it open, the package that DVC needs for it."""

    name: str
    access: str
    package: str = ""


# By the scheme of a remote's address.
KINDS = {
    "": Kind("a folder", "it must be there, and yours to read and to write"),
    "s3": Kind(
        "S3",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
        f"{LOCAL} access_key_id KEY' and {LOCAL} secret_access_key SECRET'",
        "dvc-s3",
    ),
    "ssh": Kind(
        "SSH",
        f"{LOCAL} user NAME' and {LOCAL} keyfile ~/.ssh/KEY'; "
        "'ssh -i ~/.ssh/KEY NAME@HOST' must work",
        "dvc-ssh",
    ),
}
OPTIONS = "https://dvc.org/doc/command-reference/remote/modify"


def share(action: str, remote: str = "") -> None:
    """Run `dvc push` or `dvc pull`, of the default remote unless another one is named.

    Raises:
        UserError: neither of them.
        SystemExit: DVC failed, with its code; a line of ours follows what it said.
    """
    if action not in ACTIONS:
        raise UserError(f"unknown action '{action}'; {nearest(action, ACTIONS)}")
    named = ["--remote", remote] if remote else []
    code = subprocess.run([sys.executable, "-m", "dvc", action, *named]).returncode
    if code:
        fail("share", f"{action} failed; {remedy(action, remote, settings())}", code)


def settings() -> dict[str, str]:
    """DVC's configuration, that of .dvc/config.local included."""
    command = [sys.executable, "-m", "dvc", "config", "--list"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return dict(line.partition("=")[::2] for line in lines)


def remedy(action: str, remote: str, config: dict[str, str]) -> str:
    """Which remote it was, and what most likely has to be set for it.

    Args:
        remote: its name; empty for the default one.
        config: as `settings` gives it.
    """
    remote = remote or config.get("core.remote", "")
    url = config.get(f"remote.{remote}.url")
    if url is None:
        known = [key.split(".")[1] for key in config if key.endswith(".url")]
        what = f"there is no remote '{remote}'" if remote else "no remote is the default one"
        others = f" (there are: {', '.join(known)})" if known else ""
        return (
            f"{what}{others}; 'dvc remote add -d team ADDRESS' adds one: a folder, "
            "s3://bucket/path or ssh://host/path"
        )
    scheme = url.partition("://")[0] if "://" in url else ""
    kind = KINDS.get(scheme, Kind(scheme, f"{LOCAL} OPTION VALUE', options: {OPTIONS}"))
    where = f"remote '{remote}' is {kind.name}, {url}"
    if kind.package and find_spec(kind.package.replace("-", "_")) is None:
        return f"{where}; '.venv/bin/pip install {kind.package}' makes DVC speak to it"
    refused = f"if it refused you: {kind.access.format(remote=remote)}"
    lacks = "; if it lacks files: 'make push' where they were made" if action == "pull" else ""
    return f"{where}; {refused}{lacks}"


if __name__ == "__main__":
    run_stage(share)
