"""Who takes part: one file per peer, one protocol, found by its file name; our variants beside.

A peer gets the fine-tuned model as transformers saves it, keeps what it needs in a folder of its
own, and is loaded in a process of its own, like our variants.
"""

import importlib
import importlib.util
import pkgutil
import time
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from bench.environments import OF_THE_RACE, Environment, own
from bench.isa import Isa
from stages import variants
from stages.model.tokens import Predict
from stages.plumbing.command import UserError, nearest

TUTORIAL = ("tutorial_fp32", "tutorial_int8")
SIMULATIONS = ("ibert_paper", "ibert_paper_qat")
# Take part only where they are named, or with --optional: see each file for why.
OPTIONAL: tuple[str, ...] = (
    "deepsparse_int8",
    "llama_cpp_int8",
    "torch_compile_fp32",
    "torch_x86_int8",
)
TURNS = 5


class Peer(Protocol):
    """A module in bench/peers/.

    Attributes:
        LIBRARY: that multiplies, as `isa.hide_from` knows it.
        REQUIRES: modules beyond those of requirements.txt, as `import` takes them.
        BITS: of the weights of the linear layers, 32 or 8.
        LICENCE: of the library; absent where nobody noted it, like what follows.
        TELEMETRY: what the library reports to whom, and what keeps it from that here.
        REQUIREMENTS: pinned, for pip; with them the peer gets an environment of its own, and
            REQUIRES are found there.
        SWITCHES: environment variables of its processes.
        FIRST_TOKEN_ONLY: behind the last layer's keys and values it computes the first token alone;
            absent where it computes all, like what follows.
        LEAVES_PADDING_OUT: a batch takes no longer for its padding.
    """

    LIBRARY: str
    REQUIRES: tuple[str, ...]
    BITS: int

    def prepare(self, checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
        """Write what `load` needs into `folder`; returns the names of the files with weights."""

    def load(self, folder: Path, threads: int) -> tuple[Predict, int | None]:
        """Ready to predict, and the number of threads read back where the library tells it."""


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Peer:
    """The peer called `name`, or our variant of that name.

    Raises:
        UserError: there is neither.
    """
    if name in names():
        return cast(Peer, importlib.import_module(f"{__name__}.{name}"))
    if name in known():
        from bench.ours import Ours

        return Ours(name)
    raise UserError(f"nobody called '{name}' can take part; {nearest(name, known())}")


def known() -> list[str]:
    from bench.ours import TAKEN_AWAY

    return [*names(), *variants.names(), *TAKEN_AWAY]


def others_int8() -> list[str]:
    """Of whom `best peer` is the best: fed with the same sorted batches as ours."""
    return [name for name in names() if name not in TUTORIAL and get(name).BITS == 8]


def regular() -> list[str]:
    """Who takes part where nobody is named."""
    return [name for name in names() if name not in OPTIONAL]


def environment(name: str) -> Environment:
    """Where the processes of `name` run: made now, if it is one of its own."""
    peer = get(name)
    requirements: tuple[str, ...] = getattr(peer, "REQUIREMENTS", ())
    if requirements:
        return own(name, requirements, peer.REQUIRES)
    lacking = [module for module in peer.REQUIRES if importlib.util.find_spec(module) is None]
    return Environment(OF_THE_RACE, f"{' and '.join(lacking)} not installed" if lacking else "")


def first_token_only(name: str) -> bool:
    return getattr(get(name), "FIRST_TOKEN_ONLY", False)


def leaves_padding_out(name: str) -> bool:
    return getattr(get(name), "LEAVES_PADDING_OUT", False)


def switches(name: str) -> dict[str, str]:
    variables: dict[str, str] = getattr(get(name), "SWITCHES", {})
    return variables


def notes(name: str) -> dict[str, str]:
    """`licence` and `telemetry` of the library, and `packages` of an environment of its own."""
    peer = get(name)
    facts = {fact.lower(): getattr(peer, fact, "not noted") for fact in ("LICENCE", "TELEMETRY")}
    return facts | {"packages": " ".join(getattr(peer, "REQUIREMENTS", ()))}


def torch_threads(threads: int) -> int:
    """Set torch's threads, and read them back."""
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return torch.get_num_threads()


def fastest(candidates: dict[str, Predict]) -> str:
    """The name of the one that is fastest on 8 x 48 tokens, by the best of five turns."""
    random = np.random.default_rng(0)
    ids = random.integers(5, 60, size=(8, 48))
    zeros, ones = np.zeros_like(ids), np.ones_like(ids)
    batch = {"input_ids": ids, "token_type_ids": zeros, "attention_mask": ones}
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(TURNS):
        for name, predict in candidates.items():
            start = time.perf_counter()
            predict(batch)
            best[name] = min(best[name], time.perf_counter() - start)
    return min(best, key=lambda name: best[name])
