"""Which instructions the libraries may use: all that this CPU has, or AVX2 without VNNI.

The targets speak of a CPU with AVX2 and without VNNI. On a CPU that has more, `avx2` hides the rest
from each library: by the library's own switch where it has one, else by hide_isa.cpp. What is
measured so is a simulation, and every output says so.
"""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.compiler import NoCompiler, compiled
from stages.model import cpu
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json

NATIVE, AVX2 = "native", "avx2"
SIMULATED = (
    "simulated: AVX2 without VNNI, by hiding AVX-512 and VNNI from each library on a CPU that has "
    "them"
)
VARIABLE = "BENCH_HIDE_ISA"  # set for the children of a simulated run
# Read by the libraries themselves. FBGEMM and oneDNN sit inside torch, oneDNN inside CTranslate2.
# Inductor takes its vectors from ATEN_CPU_CAPABILITY, and tells g++ to use all that the CPU has.
SWITCHES = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3",
    "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "CT2_FORCE_CPU_ISA": "AVX2",
    "INT8_FAST_KERNEL": "avx2",
    "IBERT_KERNEL": "avx2",
    "NM_ARCH": "avx2",
}
OWN_SWITCH = {
    "torch": "environment: ATEN_CPU_CAPABILITY, FBGEMM_ENABLE_INSTRUCTIONS, ONEDNN_MAX_CPU_ISA, "
    "MKL_ENABLE_INSTRUCTIONS, and for code that inductor compiles TORCHINDUCTOR_CPP_MARCH",
    "int8_fast": "environment: INT8_FAST_KERNEL, and torch's",
    "ibert": "environment: IBERT_KERNEL",
    "ctranslate2": "environment: CT2_FORCE_CPU_ISA, DNNL_MAX_CPU_ISA",
    "deepsparse": "environment: NM_ARCH",
}
# Libraries that execute `cpuid` themselves, and where their code lies.
PATCHED = {
    "onnxruntime": [("onnxruntime.capi", "onnxruntime_pybind11_state*.so")],
    "openvino": [("openvino.libs", "libopenvino.so*"), ("openvino.libs", "*intel_cpu_plugin.so")],
}
# OpenVINO's oneDNN reads this too, but the rest of OpenVINO does not, and then computes nothing.
NOT_FOR = {"openvino": ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")}


class NotHidden(Exception):
    """A library could not be kept from the instructions that it should not use."""


@dataclass(frozen=True)
class Isa:
    """Attributes:
    name: `native` or `avx2`.
    simulated: whether this CPU has more than the libraries are shown.
    """

    name: str
    simulated: bool

    @property
    def vnni(self) -> bool:
        """Whether the libraries see VNNI."""
        return cpu.has_vnni() and not self.simulated

    @property
    def environment(self) -> dict[str, str]:
        """For the children."""
        return SWITCHES | {VARIABLE: AVX2} if self.simulated else {}

    @property
    def described(self) -> str:
        return SIMULATED if self.simulated else "as this CPU is"


def choose(name: str) -> Isa:
    return Isa(name, name == AVX2 and bool(more_than_avx2()))


def more_than_avx2() -> set[str]:
    """What `avx2` has to hide here; empty where both modes are the same."""
    return {flag for flag in cpu.flags() if re.match("avx512|avx_vnni|amx_", flag)}


def hide_from(library: str) -> str:
    """Call in a child, before anything imports `library`; says how it was done.

    Returns:
        one line for results.json; empty where nothing is to hide.

    Raises:
        NotHidden: the library would use what it finds.
    """
    if os.environ.get(VARIABLE) != AVX2:
        return ""
    if library in OWN_SWITCH:
        return OWN_SWITCH[library]
    if library not in PATCHED:
        raise NotHidden(f"no way is known to hide AVX-512 and VNNI from {library}")
    for switch in NOT_FOR.get(library, ()):
        os.environ.pop(switch, None)
    return "; ".join(patch(library_file(*where)) for where in PATCHED[library])


def library_file(package: str, pattern: str) -> Path:
    """The shared library, found without running the package's own code."""
    top = importlib.util.find_spec(package.partition(".")[0])
    if top is None or not top.submodule_search_locations:
        raise NotHidden(f"{package} is not installed")
    folder = Path(top.submodule_search_locations[0], *package.split(".")[1:])
    files = sorted(folder.glob(pattern))
    if not files:
        raise NotHidden(f"{package} has no {pattern}")
    return files[0]


def patch(file: Path) -> str:
    """Load `file` and answer its `cpuid` instructions in the CPU's place.

    Loading runs the library's constructors, and not yet what `import` runs, which is where ONNX
    Runtime asks: so this must come before the import.

    Raises:
        NotHidden: no compiler, no disassembler, or the system refuses.
    """
    try:
        shim = compiled("hide_isa.cpp")
    except NoCompiler as error:
        raise NotHidden(str(error)) from None
    addresses = cpuid_addresses(file)
    ctypes.CDLL(str(file))
    shim.hide_isa.restype = ctypes.c_long
    array = (ctypes.c_uint64 * len(addresses))(*addresses)
    done = shim.hide_isa(str(file).encode(), array, ctypes.c_size_t(len(addresses)))
    if done != len(addresses) or not addresses:
        raise NotHidden(f"{done} of {len(addresses)} cpuid instructions of {file.name} replaced")
    return f"hide_isa.cpp: {done} cpuid instructions of {file.name} answered in the CPU's place"


def cpuid_addresses(file: Path) -> list[int]:
    """Where `cpuid` really is executed: a byte search would also find constants and operands.

    Raises:
        NotHidden: objdump is missing or failed.
    """
    facts = file.stat()
    mark = f"{file.name}-{facts.st_size}-{int(facts.st_mtime)}"
    known = Path(".bench") / "cpuid" / f"{mark}.json"
    if known.exists():
        addresses: list[int] = read_json(known, list)
        return addresses
    objdump = shutil.which("objdump")
    if not objdump:
        raise NotHidden("no objdump (binutils) on this machine")
    pattern = re.compile(r"^\s*([0-9a-f]+):\tcpuid\b")
    addresses = []
    command = [objdump, "-d", "--no-show-raw-insn", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if match := pattern.match(line):
                addresses.append(int(match[1], 16))
    if running.returncode:
        raise NotHidden(f"objdump failed on {file.name}")
    write_json(known, addresses)
    return addresses
