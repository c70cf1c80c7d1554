"""What a timing belongs to: CPU, instruction set, cores and library versions of this machine."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

from stages.model.cpu import cpuinfo, instruction_set
from stages.plumbing.cpu_share import all_threads, limited_by

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
    if limit := limited_by():
        facts["cores_limited_by"] = limit
    facts.update({name: installed(name) for name in LIBRARIES})
    return facts


def compiler() -> str:
    """Of C++: without one, int8_fast multiplies with a library's kernel."""
    program = shutil.which(os.environ.get("CXX", "c++"))
    if program is None:
        return "none"
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return answer.stdout.partition("\n")[0].strip()


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu_name() -> str:
    return cpuinfo("model name") or platform.processor() or platform.machine()
