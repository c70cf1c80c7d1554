"""What the user or the machine is the cause of, among all that can be raised: a line for each kind.

Anything else is a fault of this project.
"""

import errno
import os
import tempfile
from pathlib import Path

from stages.plumbing import disk, paths

# What a file system answers where something may not be read or written.
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
# Other answers, and what to do about them.
REMEDIES = {
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ELOOP: "a symbolic link leads back to itself; remove it",
    errno.EMFILE: "raise the number of files that a process may open (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EIO: "the disk or the network behind it fails; see the system's log",
    errno.ESTALE: "the network drive has changed; mount it anew",
    errno.ENOTEMPTY: "remove it, and run again",
    errno.EBUSY: "something else uses it; unmount it, or choose another place",
    errno.ETXTBSY: "it is being run; end that first",
}


# Of torch and ONNX Runtime, which raise no MemoryError.
OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "bad_alloc",
)


def of_the_machine(error: BaseException) -> str:
    """Which place it was and what helps, one line; empty for any other exception."""
    for each in disk.chain(error):
        if why := disk.why_full(each):
            return f"{name_of_disk(each)} {why}: free some space there and run again"
        if isinstance(each, OSError) and (line := of_a_place(each)):
            return line
        if isinstance(each, MemoryError) or any(words in str(each) for words in OUT_OF_MEMORY):
            return (
                "there is too little memory for this; end what else takes some, or take a smaller "
                "batch_size or max_length in params.yaml"
            )
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("stages"):
        return (
            f"this Python lacks the package '{error.name}': 'source .venv/bin/activate' takes the "
            f"project's environment, 'pip install {error.name}' adds it there"
        )
    return of_what_is_missing(error)


def of_a_place(error: OSError) -> str:
    if "No usable temporary directory" in str(error):
        return "no folder for temporary files can be written; set TMPDIR to one that can"
    named = error.filename2 or error.filename  # of a rename the target
    if not isinstance(named, str | bytes | os.PathLike):
        return ""
    place = Path(os.fsdecode(named)).absolute()
    if isinstance(error, IsADirectoryError):
        return f"{place} is a folder, where a file should be; remove it, or name another file"
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"{place} cannot be used ({error.strerror}), a file is in the way; {mover(place)}"
    if error.errno in REFUSED:
        return f"{place} cannot be used ({error.strerror}); {mover(place)}"
    if error.errno in REMEDIES:
        return f"{place} cannot be used ({error.strerror}); {REMEDIES[error.errno]}"
    return ""


def of_what_is_missing(error: BaseException) -> str:
    """Only what a stage writes: any other file that is not there is this project's to ask for."""
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str | bytes):
        place = Path(os.fsdecode(error.filename))
        if stage := paths.stage_of(place):
            return f"{place} is missing; {remade(stage)}"
    return ""


def remade(stage: str) -> str:
    return f"run 'dvc repro', whose stage {stage} writes it, or 'dvc pull'"


def name_of_disk(error: BaseException) -> str:
    """As it was noted where the write failed; else the fullest one of those that are written to."""
    if noted := getattr(error, "disk", ""):
        return str(noted)
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        return disk.described(Path(os.fsdecode(error.filename)))
    written_to = [Path.cwd(), Path(tempfile.gettempdir()), Path("~/.cache").expanduser()]
    for name in ("BERTQUANT_CACHE", "XDG_CACHE_HOME", "HF_HOME"):
        written_to += [Path(os.environ[name])] if os.environ.get(name) else []
    return disk.described(min(written_to, key=disk.free))


def mover(place: Path) -> str:
    if place.is_relative_to(Path.cwd()):
        return "the project's folder must be yours to write: change its permissions, or clone it"
    if place.is_relative_to(os.environ.get("TMPDIR") or "/tmp"):
        return "set TMPDIR to a folder of your own"
    return (
        "change its permissions, or set BERTQUANT_CACHE (downloads), XDG_CACHE_HOME (what is "
        "compiled) and HF_HOME (the hub's files) to folders of your own"
    )
