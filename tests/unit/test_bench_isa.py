"""The race as on a CPU with AVX2 and without VNNI: who is told so, and how it is seen."""

import ctypes
import shutil
from pathlib import Path

import pytest

from bench import isa
from bench.compiler import compiled
from bench.isa import AVX2, NATIVE, Isa, NotHidden
from bench.options import folder_of
from stages.model import cpu

with_compiler = pytest.mark.skipif(
    not (shutil.which("g++") and shutil.which("objdump")), reason="no g++ or no objdump"
)
x86 = pytest.mark.skipif(not cpu.has_avx2(), reason="an x86 with AVX2 only")


def test_a_simulated_race_says_so_and_a_plain_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "flags", lambda: frozenset(("avx2", "avx512f", "avx512_vnni")))
    assert isa.choose(AVX2).simulated
    assert isa.choose(AVX2).described.startswith("simulated: AVX2 without VNNI")
    assert not isa.choose(AVX2).vnni
    assert isa.choose(NATIVE).vnni
    monkeypatch.setattr(cpu, "flags", lambda: frozenset(("avx2", "fma")))
    assert isa.choose(AVX2) == Isa(AVX2, simulated=False)
    assert isa.choose(AVX2).environment == {}


def test_only_avx2_without_vnni_is_written_to_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.options.more_than_avx2", lambda: {"avx512_vnni"})
    assert folder_of(Isa(NATIVE, False), whole=True).name == "native"
    assert folder_of(Isa(AVX2, True), whole=True).name == "bench"
    assert folder_of(Isa(AVX2, True), whole=False) == Path(".bench/part")
    monkeypatch.setattr("bench.options.more_than_avx2", set)
    assert folder_of(Isa(NATIVE, False), whole=True).name == "bench"


def test_a_library_without_a_known_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(isa.VARIABLE, AVX2)
    with pytest.raises(NotHidden, match="no way is known"):
        isa.hide_from("some_library")


@x86
@with_compiler
def test_the_shim_hides_the_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own `cpuid` is patched like a library's, and answers without AVX-512 and VNNI."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shim = compiled("hide_isa.cpp")
    before, vendor = ask(shim, 7), ask(shim, 0)[1:]
    # All but the one by which the shim itself asks the CPU: that must stay.
    addresses = [a for a in isa.cpuid_addresses(Path(shim._name)) if in_ask(shim, a)]
    array = (ctypes.c_uint64 * len(addresses))(*addresses)
    shim.hide_isa.restype = ctypes.c_long
    assert shim.hide_isa(shim._name.encode(), array, len(addresses)) == len(addresses) == 1
    after = ask(shim, 7)
    avx512f, avx2, vnni = 1 << 16, 1 << 5, 1 << 11
    assert not after[1] & avx512f
    assert not after[2] & vnni
    assert after[1] & avx2 == before[1] & avx2
    assert ask(shim, 0)[1:] == vendor


@with_compiler
def test_the_shim_refuses_an_address_without_cpuid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shim = compiled("hide_isa.cpp")
    shim.hide_isa.restype = ctypes.c_long
    array = (ctypes.c_uint64 * 1)(64)
    assert shim.hide_isa(shim._name.encode(), array, 1) == -2
    assert shim.hide_isa(b"/no/such/library.so", array, 1) == -1


def ask(shim: ctypes.CDLL, leaf: int) -> list[int]:
    registers = (ctypes.c_uint32 * 4)()
    shim.ask_cpuid(leaf, 0, registers)
    return list(registers)


def in_ask(shim: ctypes.CDLL, address: int) -> bool:
    """Whether an address (as the symbol table counts) lies in the function `ask_cpuid`."""
    start = ctypes.cast(shim.ask_cpuid, ctypes.c_void_p).value or 0
    maps = Path("/proc/self/maps").read_text().splitlines()
    base = min(int(line.split("-")[0], 16) for line in maps if line.endswith(shim._name))
    return 0 <= address - (start - base) < 64
