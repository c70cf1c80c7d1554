"""A model from the Hugging Face hub: one quick look whether it can be had, then its files."""

import os
from fnmatch import fnmatch
from pathlib import Path

import requests

from stages.plumbing.command import UserError
from stages.plumbing.faults import of_the_machine
from stages.sources.http import CONNECT_SECONDS, host, hub
from stages.sources.hub_cache import forget_damaged

# By their kinds, of the top folder: AutoTokenizer knows more names than could be listed here.
WANTED = ["*.json", "*.txt", "*.model", "*.codes", "*.tiktoken", "*.bpe", "*.vocab"]
BELOW = "*/*"
# The second only where a repository lacks the first; a name begins so in the top folder alone.
WEIGHTS = ("model*.safetensors*", "pytorch_model*.bin*")
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
        folder: str = ""
        for weights in WEIGHTS if with_weights else WANTED[:1]:
            folder = snapshot_download(
                name,
                endpoint=hub(),
                allow_patterns=[*WANTED, weights],
                ignore_patterns=BELOW,
                local_files_only=bool(silence),
                etag_timeout=CONNECT_SECONDS,
            )
            if any(fnmatch(file, weights) for file in os.listdir(folder)):
                break
    except (LocalEntryNotFoundError, HFValidationError) as error:
        if silence:
            raise UserError(
                f"cannot load the model '{name}': {silence} and it was not (or not all) downloaded "
                f"before. {REMEDY}"
            ) from None
        raise broken(name, error) from None
    except Exception as error:  # of two HTTP libraries and the hub's own
        if of_the_machine(error):
            raise
        raise broken(name, error) from None
    return folder


def broken(name: str, error: Exception) -> UserError:
    code = getattr(getattr(error, "response", None), "headers", {}).get("X-Error-Code", "")
    if code:
        return UserError(f"cannot load the model '{name}': {remedy(name, code, '')}")
    said = f"{type(error).__name__}: {str(error).strip()}".split("\n")[0][:200]
    return UserError(
        f"the download of the model '{name}' from {host(hub() + '/')} broke off ({said}); the "
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

    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = f"{hub()}/{name}/resolve/main/config.json"
    try:
        # The hub's library would retry for the better part of a minute.
        reply = requests.head(
            address, headers=headers, timeout=CONNECT_SECONDS, allow_redirects=True
        )
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
