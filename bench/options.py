"""The command line of the race."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.isa import AVX2, NATIVE, Isa, choose, more_than_avx2
from bench.ours import TAKEN_AWAY
from bench.workloads import BERT, LENGTHS, MINILM, PAIRS
from stages import variants
from stages.plumbing.command import UserError, nearest
from stages.plumbing.cpu_share import all_threads

MODELS = (BERT, MINILM)
PARTS = ("race", "kernels", "loadgen", "finetune")
# int8_dynamic is what the peer torch_int8 runs, so it needs no second place.
OURS = ("fp32", "int8_embeddings", "int8_onnx", "int8_fast", "ibert", *TAKEN_AWAY)
# With `--peer`: what its answers are compared with, and what it is to be compared with.
AGAINST = "fp32,int8_fast,ibert"
SCRATCH = Path(".bench")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Settings:
    """The command line; `whole` says whether all of the race is run at its full length."""

    isa: Isa
    models: list[str]
    parts: list[str]
    runners: list[str]
    checkpoint: Path | None
    batch_size: int
    pairs: int
    threads: list[int]
    rounds: int
    length_calls: int
    starts: int
    lengths: tuple[int, ...]
    kernel_turns: int
    finetune_rounds: int
    kernel_shapes: str
    finetune_model: str
    finetune_rows: int
    again: bool
    whole: bool
    folder: Path


def settings(given: list[str] | None = None) -> Settings:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Our variants against every peer on this machine, in one run.",
    )
    parser.add_argument("--isa", choices=(NATIVE, AVX2), default=NATIVE)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--parts", default=",".join(PARTS), help="some of the race")
    parser.add_argument("--peers", help="some of them, or optional ones")
    parser.add_argument(
        "--optional", action="store_true", help=f"with {', '.join(peers.OPTIONAL)} too"
    )
    parser.add_argument("--peer", help="this one alone against ours, the race on one thread only")
    parser.add_argument(
        "--again", action="store_true", help="with --peer: add the leads to bench/reruns.json"
    )
    parser.add_argument("--variants", default=",".join(OURS), help="ours that take part")
    parser.add_argument("--checkpoint", type=Path, help="a fine-tuned MiniLM-L6 (make repro)")
    parser.add_argument("--batch-size", type=int, default=16, help="of the sorted batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--finetune-rounds", type=int, default=1)
    parser.add_argument("--finetune-model", default="minilm-l6", help="where training starts")
    parser.add_argument("--quick", action="store_true", help="a look; not written to bench/")
    parser.add_argument("--out", type=Path, help="folder for the results")
    options = parser.parse_args(given)
    if options.peer:
        for name, value in {"peers": options.peer, "parts": "race", "variants": AGAINST}.items():
            setattr(options, name, value)
    elif options.again:
        raise UserError("--again repeats the race against one peer; name it with --peer")
    if options.peers is None:
        options.peers = ",".join(peers.names() if options.optional else peers.regular())
    chosen = {
        "--models": checked("--models", options.models, MODELS),
        "--parts": checked("--parts", options.parts, PARTS),
        "--peers": checked("--peers", options.peers, peers.names()),
        "--variants": checked("--variants", options.variants, [*variants.names(), *OURS]),
    }
    for name in ("batch_size", "rounds", "finetune_rounds"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(options, name)}; at least 1")
    isa = choose(options.isa)
    everything = {
        "--models": MODELS,
        "--parts": PARTS,
        "--peers": peers.regular(),
        "--variants": OURS,
    }
    whole = not options.quick and all(
        set(names) <= set(chosen[option]) for option, names in everything.items()
    )
    return Settings(
        isa=isa,
        models=chosen["--models"],
        parts=chosen["--parts"],
        runners=[*chosen["--peers"], *chosen["--variants"]],
        checkpoint=options.checkpoint,
        batch_size=options.batch_size,
        pairs=48 if options.quick else PAIRS,
        # Most targets speak of one thread; a race against one peer is to take minutes.
        threads=[1] if options.peer else sorted({1, all_threads()}),
        rounds=1 if options.quick else options.rounds,
        length_calls=1 if options.quick else 3,
        starts=1 if options.quick else 2 if options.peer else 5,
        lengths=LENGTHS[:2] if options.quick else LENGTHS,
        kernel_turns=2 if options.quick else 15,
        finetune_rounds=1 if options.quick else options.finetune_rounds,
        kernel_shapes="tiny" if options.quick else "all",
        finetune_model=options.finetune_model,
        finetune_rows=128 if options.quick else 0,
        again=options.again,
        whole=whole,
        folder=options.out or folder_of(isa, whole),
    )


def checked(option: str, given: str, known: Sequence[str]) -> list[str]:
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UserError(f"{option}: unknown '{name}'; {nearest(name, list(known))}")
    return names


def folder_of(isa: Isa, whole: bool) -> Path:
    """bench/ holds a race on AVX2 without VNNI, real or simulated: what the targets speak of."""
    if not whole:
        return SCRATCH / "part"
    if isa.simulated or not more_than_avx2():
        return HERE
    return HERE / NATIVE
