"""classify.h for Python: token ids in, logits out, by numpy and one small shared library.

Threads may share a Model; each call uses `threads` of its own.
"""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = "libclassify.so"
WEIGHTS = "model.safetensors"
# What makes the library of the sources beside it. Nothing in them needs a C++ library.
COMPILE = (
    "cc -O3 -shared -fPIC -pthread -fvisibility=hidden -fno-exceptions -fno-threadsafe-statics "
    f"classify.cpp -o {LIBRARY} -lm"
)
ERROR_BYTES = 512
FLOAT = -(2**31)  # CLASSIFY_FLOAT: the exponent of a model whose logits are float
INT32, INT64 = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_int64)


class CannotRun(Exception):
    """The library or the model cannot be loaded here; the message says why."""


class Model:
    """Token ids in, logits out."""

    def __init__(self, library: Path, weights: Path, instruction_set: str = "") -> None:
        """Map the weights; nothing is read before it is needed.

        Args:
            instruction_set: `avx2`, `vnni`, `amx`, `c99`, or "" for the best that this CPU has.

        Raises:
            CannotRun: no such library, file or instruction set.
        """
        self.pointer = None
        try:
            self.library = declared(ctypes.CDLL(str(library.resolve())))
        except OSError as error:
            raise CannotRun(f"{error}; build it anew beside its sources: {COMPILE}") from None
        message = ctypes.create_string_buffer(ERROR_BYTES)
        self.pointer = self.library.classify_open(
            str(weights).encode(), instruction_set.encode(), message, ERROR_BYTES
        )
        if not self.pointer:
            raise CannotRun(message.value.decode())
        outputs, exponent, longest = (ctypes.c_int32() for _ in range(3))
        self.library.classify_describe(self.pointer, outputs, exponent, longest)
        self.outputs, self.exponent, self.longest = outputs.value, exponent.value, longest.value
        self.instruction_set: str = self.library.classify_instruction_set(self.pointer).decode()

    def __del__(self) -> None:
        if self.pointer:
            self.library.classify_close(self.pointer)

    def raw(
        self,
        ids: np.ndarray,
        starts: np.ndarray,
        types: np.ndarray | None = None,
        threads: int = 1,
        cuts: np.ndarray | None = None,
    ) -> np.ndarray:
        """Logits (texts, outputs): int32, times 2^exponent, or float32 where that is FLOAT.

        Args:
            ids: token ids of all texts one behind the other, (tokens,).
            starts: (texts + 1,), where each text begins, and the end.
            types: of each token; None where all are 0.
            cuts: int64 (1,), to which is added how many numbers a saturating step has cut.

        Raises:
            ValueError: an id, type or length that the model has not.
        """
        starts = np.ascontiguousarray(starts, np.int64)
        ids = np.ascontiguousarray(ids, np.int32)
        if types is not None:
            types = np.ascontiguousarray(types, np.int32)
        if starts[-1] != len(ids) or (types is not None and len(types) != len(ids)):
            raise ValueError("starts, ids and types do not belong together")
        kind = np.float32 if self.exponent == FLOAT else np.int32
        logits = np.empty((len(starts) - 1, self.outputs), kind)
        wrong = self.library.classify_texts(
            self.pointer,
            len(starts) - 1,
            starts.ctypes.data_as(INT64),
            ids.ctypes.data_as(INT32),
            None if types is None else types.ctypes.data_as(INT32),
            threads,
            logits.ctypes.data,
            None if cuts is None else cuts.ctypes.data_as(INT64),
        )
        if wrong:
            raise ValueError(wrong.decode())
        return logits

    def logits(
        self,
        ids: np.ndarray,
        starts: np.ndarray,
        types: np.ndarray | None = None,
        threads: int = 1,
        cuts: np.ndarray | None = None,
    ) -> np.ndarray:
        """`raw`, divided: float32 (texts, outputs)."""
        raw = self.raw(ids, starts, types, threads, cuts)
        if self.exponent == FLOAT:
            return raw
        return np.ldexp(raw.astype(np.float64), -self.exponent).astype(np.float32)


def declared(library: Any) -> Any:
    """With the types of classify.h."""
    pointer, text, integer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32
    library.classify_open.restype = pointer
    library.classify_open.argtypes = [text, text, text, ctypes.c_int64]
    library.classify_describe.restype = None
    library.classify_describe.argtypes = [pointer, INT32, INT32, INT32]
    library.classify_instruction_set.restype = text
    library.classify_instruction_set.argtypes = [pointer]
    library.classify_texts.restype = text
    library.classify_texts.argtypes = [
        pointer,
        integer,
        INT64,
        INT32,
        INT32,
        integer,
        pointer,
        INT64,
    ]
    library.classify_close.restype = None
    library.classify_close.argtypes = [pointer]
    return library
