"""What the CPU can do: as torch sees it, and where int8 products overflow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stages.model import cpu
from tests.unit.conftest import OnCpu

ROOT = Path(__file__).parents[2]
AVX512 = ["avx512bw", "avx512dq", "avx512vl"]
HERE = torch.backends.cpu.get_cpu_capability().lower()


def test_the_capability_is_torchs() -> None:
    assert cpu.capability() == HERE


@pytest.mark.parametrize("forced", ["default", "avx2", "avx512"])
def test_it_follows_torchs_own_environment_variable(forced: str) -> None:
    if forced == "avx512" and HERE != "avx512":
        pytest.skip("torch would run instructions that this CPU does not have")
    code = "from stages.model import cpu; ours = cpu.capability(); import torch; "
    code += "print(ours, torch.backends.cpu.get_cpu_capability().lower())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"ATEN_CPU_CAPABILITY": forced},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.stdout.split() == [forced, forced], result.stderr


def test_a_value_that_torch_does_not_know_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx1024")
    assert cpu.capability() == HERE


@pytest.mark.skipif(not (cpu.is_x86() and cpu.cpuinfo("flags")), reason="there torch is asked")
def test_it_is_told_without_importing_torch() -> None:
    code = (
        "from stages.model import cpu; cpu.capability(); import sys; print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == "False", result.stderr


@pytest.mark.parametrize(
    ("machine", "flags", "overflows"),
    [
        ("x86_64", ["avx2", "fma"], True),
        ("x86_64", ["avx2", "fma", *AVX512], True),
        ("AMD64", ["avx2", "fma"], True),  # as Windows calls it
        ("x86_64", [], True),
        ("x86_64", ["avx2", "fma", "avx_vnni"], False),
        ("x86_64", ["avx2", "fma", *AVX512, "avx512_vnni"], False),
        ("aarch64", [], False),
        ("arm64", [], False),
    ],
)
def test_8_bit_products_overflow_on_an_x86_without_vnni(
    machine: str, flags: list[str], overflows: bool, on_cpu: OnCpu
) -> None:
    on_cpu(*flags, machine=machine)
    assert cpu.int8_overflows() == overflows


@pytest.mark.skipif(not (cpu.is_x86() and cpu.cpuinfo("flags")), reason="there torch is asked")
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "default"),
        (["avx2"], "default"),  # torch's AVX2 kernels multiply and add in one
        (["avx2", "fma"], "avx2"),
        (["avx2", "fma", "avx_vnni"], "avx2+vnni"),
        (["avx2", "fma", "avx512bw", "avx512vl"], "avx2"),
        (["avx2", "fma", *AVX512], "avx512"),
        (["avx2", "fma", *AVX512, "avx512_vnni"], "avx512+vnni"),
    ],
)
def test_the_instruction_set_in_one_word(
    flags: list[str], expected: str, on_cpu: OnCpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    on_cpu(*flags)
    assert cpu.instruction_set() == expected
