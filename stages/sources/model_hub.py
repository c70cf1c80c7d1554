"""Asking the hub about a model, before anything slow is imported or downloaded."""

import os

import requests

from stages.plumbing.command import UserError
from stages.sources.http import CONNECT_SECONDS, host, hub

REMEDY = "Use a name that the hub knows, a local folder, or 'minilm-l6', which needs no hub"


def look_up(name: str) -> bool:
    """Whether the hub offers the model `name`; False: only what was downloaded before may be used.

    Raises:
        UserError: there is no such model, its terms were not accepted, or the hub does not answer
            and the model was not downloaded before.
    """
    from huggingface_hub import get_token, try_to_load_from_cache

    refused = f"cannot load the model '{name}'"
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    reason = "HF_HUB_OFFLINE is set"
    if os.environ.get("HF_HUB_OFFLINE", "") in ("", "0"):
        address = f"{hub()}/{name}/resolve/main/config.json"
        try:
            # transformers would retry an unreachable hub for the better part of a minute.
            reply = requests.head(
                address, headers=headers, timeout=CONNECT_SECONDS, allow_redirects=True
            )
        except requests.exceptions.RequestException as error:
            reason = f"the hub does not answer ({host(address)}: {type(error).__name__})"
        else:
            if reply.ok:
                return True
            reason = f"the hub answers HTTP {reply.status_code} ({host(address)})"
            if reply.status_code < 429:
                code = reply.headers.get("X-Error-Code", "")
                raise UserError(f"{refused}: {remedy(name, code, reply)}")
    if not isinstance(try_to_load_from_cache(name, "config.json"), str):
        raise UserError(f"{refused}: {reason} and it was not downloaded before. {REMEDY}")
    return False


def remedy(name: str, code: str, reply: requests.Response) -> str:
    """What is wrong, by the hub's own codes (huggingface_hub/utils/_http.py), and what helps."""
    if code == "GatedRepo":
        return (
            f"it is gated; accept its terms on {hub()}/{name} and set HF_TOKEN to a token of the "
            "account that did"
        )
    if code == "EntryNotFound":
        return f"the hub has it, but without config.json, so transformers cannot load it. {REMEDY}"
    if code == "RepoNotFound" or reply.status_code == 404:
        return f"the hub has none of this name, or it is private and needs HF_TOKEN. {REMEDY}"
    said = reply.headers.get("X-Error-Message", f"HTTP {reply.status_code}")
    return f"the hub refuses it ({said}); check HF_TOKEN. {REMEDY}"
