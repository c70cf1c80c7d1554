"""No float runs: in the artifact's types, in the compiled code, in the CPU's own flags."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors import safe_open

from bench.bits import float_flags
from stages.engines.ibert.engine import HERE, RUNTIME
from tests.integer_models import ODD_SIZES, random_model, random_texts

# All that a mnemonic may be.
GENERAL = re.compile(  # of general registers, with the letter of a size or without
    r"(mov|movabs|movslq|lea|add|adc|sub|sbb|inc|dec|neg|not|and|or|xor|andn|i?mul|i?div|sh[lr]|sar"
    r"|sal|ro[lr]|rorx|sh[lr]d|s[ahl][lr]x|bs[fr]|[lt]zcnt|popcnt|bt[rs]?|cmp|test|push|pop|call"
    r"|ret|leave|nop|xchg|cmpxchg|xadd|stos|bextr|bls[ri])[bwlq]?"
    r"|cltq|cqto|cltd|cwtl|mov[sz][bw][wlq]|endbr64|ud2|hlt|pause|cpuid|xgetbv"
)
FAMILIES = re.compile(
    r"j\w+|set\w+|cmov\w+"  # branches, conditions
    r"|v?p[a-z0-9]+"  # packed integers, and shuffles of them
    r"|v?mov(dq[au]\w*|aps|apd|ups|upd|d|q|ss|sd|hps|lps|hpd|lpd|hlps|lhps)"  # moves
    r"|v(insert|extract|broadcast)[if]\d+\w*|vbroadcasts[sd]|valignq|valignd|vshuf[if]\d+x\d"
    r"|v?(insertps|xorps|xorpd|shufps|shufpd|unpck[lh]p[sd]|blendp[sd]|permilp[sd])|vzeroupper|vzeroall"
    r"|k(mov|or|and|not|xor|ortest|test|unpck|shift)\w*|prefetch\w+|stmxcsr|ldmxcsr|tdpbusd|tile(load|store)d|ldtilecfg|tilerelease"
)
FLOATING = re.compile(
    r"v?(add|sub|mul|div|sqrt|max|min|fmadd\w*|fnmadd\w*|round|cvt\w*)[sp][sd]\b|f[a-z]+"
)

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")


def test_the_file_holds_integers_alone(tmp_path: Path) -> None:
    file = random_model(tmp_path / "model.safetensors", ODD_SIZES["small"], seed=0)
    with safe_open(file, "np") as tensors:
        kinds = {str(tensors.get_slice(name).get_dtype()) for name in tensors.keys()}  # noqa: SIM118
    assert kinds == {"I8", "I16", "I32"}


def mnemonics(file: Path) -> set[str]:
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(file)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = re.findall(
        r"^ +[0-9a-f]+:\t(?:(?:lock|rep\w*|data16|cs|bnd|notrack) )*(\S+)", listing, re.M
    )
    return {line.rstrip(",") for line in lines}


def allowed(mnemonic: str) -> bool:
    return any(family.fullmatch(mnemonic) for family in (GENERAL, FAMILIES))


@needs_compiler
@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
def test_every_instruction_of_the_library_is_on_the_list() -> None:
    found = mnemonics(RUNTIME.library())
    assert len(found) > 60
    assert sorted(name for name in found if not allowed(name)) == []


@pytest.mark.parametrize(
    "name", ["vaddps", "vmulss", "vfmadd231ps", "vcvtdq2ps", "fld", "vdivpd", "vsqrtss", "cvtsi2ss"]
)
def test_the_list_has_no_arithmetic_on_floats(name: str) -> None:
    assert not allowed(name)


@needs_compiler
@pytest.mark.parametrize("kernel", ["avx2", "vnni", "amx", "c99"])
def test_no_thread_raises_a_flag_of_the_floating_point_unit(kernel: str, tmp_path: Path) -> None:
    sizes = ODD_SIZES["as TinyBERT"]
    file = random_model(tmp_path / "model.safetensors", sizes, seed=0)
    ids, types = random_texts(sizes, 1)
    texts = [
        {"input_ids": one.tolist(), "token_type_ids": its.tolist()}
        for one, its in zip(ids * 5, types * 5, strict=True)
    ]
    flags = float_flags(file, texts, [kernel])
    if not flags:
        pytest.skip(f"this CPU cannot run {kernel}")
    clear = {"integer": "0x0", "one_float_layernorm": "0x20"}
    assert flags == {f"{kernel}, threads {n}": {"threads": str(n)} | clear for n in (1, 2)}


@needs_compiler
@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")
@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m0"])
def test_for_bare_metal_no_symbol_of_a_soft_float_is_needed(core: str, tmp_path: Path) -> None:
    built = tmp_path / "ibert.o"
    command = (
        f"arm-none-eabi-gcc -std=c99 -Os -mcpu={core} -mthumb -mfloat-abi=soft -ffreestanding -c"
    )
    subprocess.run([*command.split(), str(HERE / "c99/ibert.c"), "-o", str(built)], check=True)
    listed = subprocess.run(
        ["arm-none-eabi-nm", "-u", str(built)], capture_output=True, text=True, check=True
    )
    needed = listed.stdout.split()[1::2]
    assert not [
        name for name in needed if re.match(r"__aeabi_([fd]|u?[il]2[fd])|__\w+[sd]f\d?$", name)
    ]
    assert set(needed) <= {"memset", "memcpy"} | {n for n in needed if n.startswith("__aeabi_")}
