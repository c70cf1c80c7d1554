// Hides AVX-512, VNNI and AMX from a shared library that asks the CPU itself.
//
// A library that has no switch of its own for this (ONNX Runtime) executes the instruction `cpuid`
// and chooses its kernels by the answer. Each of its `cpuid` (0F A2) is overwritten in memory by
// `ud2` (0F 0B), of the same two bytes, which raises SIGILL; the handler answers in its place, with
// those bits cleared that a CPU with AVX2 and without VNNI does not have. Nothing is changed on
// disk, nothing outside this process. Where the `cpuid`s are is found by disassembly: see isa.py.
//
// XGETBV still says that the system saves ZMM registers, which alone enables nothing.

#include <cpuid.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace {

std::vector<uintptr_t> patched;
struct sigaction previous;

struct Registers {
  uint32_t eax, ebx, ecx, edx;
};

// Leaf 7 names the instruction sets; the bits are those of Intel's and AMD's manuals.
void hide(uint32_t leaf, uint32_t subleaf, Registers& r) {
  const auto bit = [](int n) { return uint32_t{1} << n; };
  if (leaf == 7 && subleaf == 0) {
    // AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL
    r.ebx &= ~(bit(16) | bit(17) | bit(21) | bit(26) | bit(27) | bit(28) | bit(30) | bit(31));
    // AVX512 VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ
    r.ecx &= ~(bit(1) | bit(6) | bit(11) | bit(12) | bit(14));
    // AVX512 4VNNIW, 4FMAPS, VP2INTERSECT, FP16; AMX BF16, TILE, INT8
    r.edx &= ~(bit(2) | bit(3) | bit(8) | bit(23) | bit(22) | bit(24) | bit(25));
  } else if (leaf == 7 && subleaf == 1) {
    // AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA
    r.eax &= ~(bit(4) | bit(5) | bit(21) | bit(23));
    // AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, AVX10
    r.edx &= ~(bit(4) | bit(5) | bit(8) | bit(10) | bit(19));
  }
}

void answer(int signal, siginfo_t* info, void* context) {
  auto* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto at = static_cast<uintptr_t>(registers[REG_RIP]);
  if (std::binary_search(patched.begin(), patched.end(), at)) {
    const auto leaf = static_cast<uint32_t>(registers[REG_RAX]);
    const auto subleaf = static_cast<uint32_t>(registers[REG_RCX]);
    Registers r{};
    __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
    hide(leaf, subleaf, r);
    registers[REG_RAX] = r.eax;
    registers[REG_RBX] = r.ebx;
    registers[REG_RCX] = r.ecx;
    registers[REG_RDX] = r.edx;
    registers[REG_RIP] += 2;
    return;
  }
  // Somebody else's illegal instruction: as it would have been without us.
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
    sigaction(SIGILL, &previous, nullptr);  // which the instruction, run again, meets
  } else {
    previous.sa_handler(signal);
  }
}

struct Search {
  const char* path;
  uintptr_t base;
  bool found;
};

int look(dl_phdr_info* one, size_t, void* data) {
  auto* search = static_cast<Search*>(data);
  if (one->dlpi_name && strcmp(one->dlpi_name, search->path) == 0) {
    search->base = one->dlpi_addr;
    search->found = true;
  }
  return search->found;
}

}  // namespace

// Patch the loaded library `path` at `count` addresses, as its symbol table counts them.
// Returns how many were patched, or -1: not loaded, -2: no `cpuid` at an address, -3: refused by
// the system.
extern "C" long hide_isa(const char* path, const uint64_t* addresses, size_t count) {
  Search search{path, 0, false};
  dl_iterate_phdr(look, &search);
  if (!search.found) return -1;
  for (size_t i = 0; i < count; ++i) {
    const auto* code = reinterpret_cast<const uint8_t*>(search.base + addresses[i]);
    if (code[0] != 0x0F || code[1] != 0xA2) return -2;
  }
  if (patched.empty()) {
    struct sigaction action {};
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGILL, &action, &previous)) return -3;
  }
  for (size_t i = 0; i < count; ++i) patched.push_back(search.base + addresses[i]);
  std::sort(patched.begin(), patched.end());
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (size_t i = 0; i < count; ++i) {
    auto* code = reinterpret_cast<uint8_t*>(search.base + addresses[i]);
    const uintptr_t first = reinterpret_cast<uintptr_t>(code) & ~(page - 1);
    const size_t length = reinterpret_cast<uintptr_t>(code) + 2 - first;
    if (mprotect(reinterpret_cast<void*>(first), length, PROT_READ | PROT_WRITE | PROT_EXEC)) {
      return -3;
    }
    code[1] = 0x0B;
    if (mprotect(reinterpret_cast<void*>(first), length, PROT_READ | PROT_EXEC)) return -3;
  }
  return static_cast<long>(count);
}

// For the test: a `cpuid` of this library's own, to be patched like any other. Writes EAX to EDX.
extern "C" __attribute__((noinline)) void ask_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t* r) {
  __cpuid_count(leaf, subleaf, r[0], r[1], r[2], r[3]);
}
