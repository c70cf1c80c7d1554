"""What a timing belongs to: CPU, instruction set, cores and library versions of this machine."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "onnxruntime", "torchao")


def describe() -> dict[str, str | int]:
    """The same on every call on one machine: no load, no clock, no free memory."""
    facts: dict[str, str | int] = {
        "cpu": cpu_name(),
        # "AMD EPYC" alone names a decade of processors.
        "cpu_family_model_stepping": "-".join(
            cpuinfo(key) for key in ("cpu family", "model", "stepping")
        ),
        "cpu_cache": cpuinfo("cache size"),
        "instruction_set": instruction_set(),
        "compiler": compiler(),
        "cores": all_threads(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
    facts.update({name: installed(name) for name in LIBRARIES})
    return facts


def compiler() -> str:
    """Of C++: without one, int8_fast multiplies with a library's kernel."""
    found = shutil.which(os.environ.get("CXX", "c++"))
    if found is None:
        return "none"
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return answer.stdout.partition("\n")[0].strip()


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def all_threads() -> int:
    """What `threads: all` means: the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""


def cpu_name() -> str:
    return cpuinfo("model name") or platform.processor() or platform.machine()


def instruction_set() -> str:
    """Decides both the speed and, through u8 x s8 saturation, the answers of int8 kernels."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability().lower()
    vnni = {"avx512_vnni", "avx_vnni"} & set(cpuinfo("flags").split())
    return f"{capability}+vnni" if vnni else capability
