"""A model from the Hugging Face hub: one quick look whether it can be had, then its files."""

import os
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

import requests

from stages.plumbing.command import UserError
from stages.plumbing.faults import of_the_machine
from stages.sources.address import host, hub
from stages.sources.http import CONNECT_SECONDS, head
from stages.sources.hub_cache import forget_damaged
from stages.sources.pace import in_time

# By their kinds, of the top folder: AutoTokenizer knows more names than could be listed here.
WANTED = ["*.json", "*.txt", "*.model", "*.codes", "*.tiktoken", "*.bpe", "*.vocab"]
BELOW = "*/*"
# The second only where a repository lacks the first; a name begins so in the top folder alone.
WEIGHTS = ("model*.safetensors*", "pytorch_model*.bin*")
MOST_BYTES = 20 << 30
SLACK = 64 << 20  # bytes that another process may bring at the same time
REMEDY = "Use a name that the hub knows, a local folder, or 'minilm-l6', which needs no hub"


def fetch_model(name: str, with_weights: bool = True) -> str:
    """The folder in the hub's own cache that holds the model `name`, or all but its weights.

    Where the hub does not answer, what was downloaded before is used. A break is resumed; after
    five the stage gives up, and the files that arrived whole are not fetched again.

    Raises:
        UserError: there is no such model, its terms were not accepted, the download broke off, or
            the hub does not answer and the model was not downloaded before.
    """
    silence = look_up(name)
    folder = snapshot(name, with_weights, silence)
    damaged = ", ".join(forget_damaged(Path(folder)))
    if damaged and silence:
        raise UserError(
            f"cannot load the model '{name}': {damaged} was altered in the hub's cache and is "
            f"removed, and {silence}. {REMEDY}"
        )
    if damaged:
        print(f"{name}: {damaged} was altered in the hub's cache, and is fetched anew", flush=True)
        folder = snapshot(name, with_weights, silence)
    return folder


def snapshot(name: str, with_weights: bool, silence: str) -> str:
    """`fetch_model`, whatever lies in the cache.

    Args:
        silence: why the hub is not asked; empty if it is.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
        from huggingface_hub.utils.logging import set_verbosity_error

        set_verbosity_error()  # the bar shows that it hangs; why it failed is said once
        if not silence:
            return Snapshot(name, with_weights).fetched()
        folder = ""
        for weights in WEIGHTS if with_weights else WANTED[:1]:
            folder = snapshot_download(
                name,
                allow_patterns=[*WANTED, weights],
                ignore_patterns=BELOW,
                local_files_only=True,
            )
            if any(fnmatch(file, weights) for file in os.listdir(folder)):
                break
        return folder
    except (LocalEntryNotFoundError, HFValidationError) as error:
        if silence:
            raise UserError(
                f"cannot load the model '{name}': {silence} and it was not (or not all) downloaded "
                f"before. {REMEDY}"
            ) from None
        raise broken(name, error) from None
    except UserError:
        raise
    except Exception as error:  # of two HTTP libraries and the hub's own
        if of_the_machine(error):
            raise
        raise broken(name, error) from None


class Snapshot:
    """The files of one model, on their way into the hub's own cache."""

    def __init__(self, name: str, with_weights: bool) -> None:
        from huggingface_hub import HfApi, constants, file_download

        self.name, self.with_weights, self.api = name, with_weights, HfApi(endpoint=hub())
        cache = Path(constants.HF_HUB_CACHE)
        folder = file_download.repo_folder_name(repo_id=name, repo_type="model")
        self.blobs = cache / folder / "blobs"
        self.before, self.expected = self.bytes_here(), 0

    def fetched(self) -> str:
        """Where they lie. One by one: the threads of `snapshot_download` cannot be left behind.

        Raises:
            UserError: they are more than may be, or than the hub announced.
            TooSlow: see `in_time`.
        """
        return in_time(self.fetch, self.received)

    def fetch(self) -> str:
        from huggingface_hub import hf_hub_download, snapshot_download

        commit = self.api.model_info(self.name, revision="main").sha
        sizes = self.wanted(
            {
                file.path: file.size
                for file in self.api.list_repo_tree(self.name, revision=commit)
                if hasattr(file, "size")  # a folder has none
            }
        )
        self.check(sum(sizes.values()))
        for file in sizes:
            hf_hub_download(
                self.name,
                file,
                revision=commit,
                endpoint=hub(),
                etag_timeout=CONNECT_SECONDS,
            )
        # All is here: it notes that, and which version is the last, for who has no hub.
        return snapshot_download(
            self.name, endpoint=hub(), allow_patterns=list(sizes), etag_timeout=CONNECT_SECONDS
        )

    def wanted(self, sizes: dict[str, int]) -> dict[str, int]:
        """Of the top folder, what transformers reads; the first kind of weights that is there.

        The large ones last, so that a break finds the others here.
        """
        kinds = [kind for kind in WEIGHTS if any(fnmatch(file, kind) for file in sizes)]
        patterns = [*WANTED, *kinds[: int(self.with_weights)]]
        return {
            file: size
            for file, size in sorted(sizes.items(), key=lambda each: each[1])
            if "/" not in file and any(fnmatch(file, pattern) for pattern in patterns)
        }

    def check(self, size: int) -> None:
        """Raises UserError before anything of it is fetched."""
        self.expected = size
        if size > MOST_BYTES:
            raise UserError(
                f"the model '{self.name}' has {size / 1e9:.1f} GB; {MOST_BYTES / 1e9:.0f} GB are "
                f"allowed. {REMEDY}"
            )

    def received(self) -> int:
        """Raises UserError where it is more than the hub announced."""
        grown = max(0, self.bytes_here() - self.before)
        if self.expected and grown > self.expected + SLACK:
            raise UserError(
                f"{host(hub())} sends more of the model '{self.name}' than the "
                f"{self.expected / 1e9:.2f} GB that it has; the download was given up"
            )
        return grown

    def bytes_here(self) -> int:
        sizes = 0
        with suppress(FileNotFoundError):  # just renamed: counted the next time
            sizes = sum(file.stat().st_size for file in self.blobs.iterdir())
        return sizes


def broken(name: str, error: Exception) -> UserError:
    code = getattr(getattr(error, "response", None), "headers", {}).get("X-Error-Code", "")
    if code:
        return UserError(f"cannot load the model '{name}': {remedy(name, code, '')}")
    said = f"{type(error).__name__}: {str(error).strip()}".split("\n")[0][:200]
    return UserError(
        f"the download of the model '{name}' from {host(hub())} broke off ({said}); the "
        "files that arrived whole are kept, run again to get the rest"
    )


def look_up(name: str) -> str:
    """Empty if the hub offers the model, else why the hub is silent.

    Raises:
        UserError: the hub answers that it will not give it.
    """
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        return "HF_HUB_OFFLINE is set"
    from huggingface_hub import get_token

    address = f"{hub()}/{name}/resolve/main/config.json"
    try:
        # The hub's library would retry for the better part of a minute.
        reply = head(address, get_token() or "")
    except requests.exceptions.RequestException as error:
        return f"the hub does not answer ({host(address)}: {type(error).__name__})"
    if reply.status_code == 429 or reply.status_code >= 500:
        return f"the hub answers HTTP {reply.status_code} ({host(address)})"
    if not reply.ok:
        code = reply.headers.get("X-Error-Code", "NotFound" if reply.status_code == 404 else "")
        said = reply.headers.get("X-Error-Message", f"HTTP {reply.status_code}")
        raise UserError(f"cannot load the model '{name}': {remedy(name, code, said)}")
    return ""


def remedy(name: str, code: str, said: str) -> str:
    """What is wrong, by the hub's own codes (huggingface_hub/utils/_http.py), and what helps."""
    if code == "GatedRepo":
        return (
            f"it is gated; accept its terms on {hub()}/{name} and set HF_TOKEN to a token of the "
            "account that did"
        )
    if code == "EntryNotFound":
        return f"the hub has it, but without config.json, so transformers cannot load it. {REMEDY}"
    if code in ("RepoNotFound", "NotFound"):
        return f"the hub has none of this name, or it is private and needs HF_TOKEN. {REMEDY}"
    return f"the hub refuses it ({said or code}); check HF_TOKEN. {REMEDY}"
