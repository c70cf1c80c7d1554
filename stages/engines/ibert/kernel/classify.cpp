// An integer model behind the five functions of classify.h: the kernels that there are, and who can run which.

#include <cstring>
#include <string_view>

// Its functions are seen from outside as well, so that an export can ask how large an arena must be.
#pragma GCC visibility push(default)
extern "C" {
#include "ibert.h"
}
namespace ibert_c99 {  // for what is not its interface
extern "C" {
#include "ibert.c"
}
}
#pragma GCC visibility pop
#include "model.h"
#include "view.h"

#if defined(__x86_64__)
#include <immintrin.h>

// The same headers for each instruction set; nothing above them uses one.
#pragma GCC push_options
#pragma GCC target("avx2")
#include "tiles.h"
namespace ibert {
#define IBERT_AVX512 0
#define IBERT_COUNT 0
namespace avx2 {
#include "kernel.h"
}
#undef IBERT_COUNT
#define IBERT_COUNT 1
namespace avx2_counting {
#include "kernel.h"
}
}  // namespace ibert
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,avx512f,avx512bw,avx512vl,avx512vnni")
namespace ibert {
#undef IBERT_AVX512
#define IBERT_AVX512 1
#undef IBERT_COUNT
#define IBERT_COUNT 0
namespace vnni {
#include "kernel.h"
}
}  // namespace ibert
#pragma GCC pop_options
#endif

namespace ibert {

// Plain C, text by text.
namespace c99 {
int64_t bytes_each(const View& view, const Texts& texts) {
  return round_up(ibert_arena_bytes(view.data, int32_t(texts.longest())), 64);
}

int64_t bytes_needed(const View& view, const Texts& texts, int32_t threads) { return bytes_each(view, texts) * threads; }

int64_t run(const View& view, const Texts& texts, Team& team, int32_t thread, char* memory, void* logits) {
  char* arena = memory + bytes_each(view, texts) * thread;
  team.share(texts.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t start = texts.starts[i];
      ibert_logits(view.data, texts.ids + start, texts.types ? texts.types + start : nullptr,
                   int32_t(texts.starts[i + 1] - start), arena, static_cast<int32_t*>(logits) + i * view.sizes.outputs);
    }
  });
  return 0;
}
}  // namespace c99

const Kernel C99 = {"c99", c99::bytes_needed, c99::run};

#if defined(__x86_64__)
const Kernel AVX2 = {"avx2", avx2::bytes_needed, avx2::run};
const Kernel VNNI = {"vnni", vnni::bytes_needed, vnni::run};
const Kernel AMX = {"amx", vnni::bytes_needed, vnni::run};  // of which only the tiles differ
const Kernel COUNTING = {"avx2", avx2_counting::bytes_needed, avx2_counting::run};

// Null where there is none of that name, or this CPU cannot run it.
const Kernel* choose(const char* name) {
  const bool avx2 = __builtin_cpu_supports("avx2"), vnni = avx2 && safe_l::cpu_has_vnni();
  if (!*name) return safe_l::cpu_has_amx() ? &AMX : vnni ? &VNNI : avx2 ? &AVX2 : &C99;
  if (!strcmp(name, "amx") && safe_l::cpu_has_amx()) return &AMX;
  if (!strcmp(name, "vnni") && vnni) return &VNNI;
  if (!strcmp(name, "avx2") && avx2) return &AVX2;
  return strcmp(name, "c99") ? nullptr : &C99;
}

// The one that counts what is cut.
const Kernel& counting(const Kernel& chosen) { return &chosen == &C99 ? C99 : COUNTING; }
#else
const Kernel* choose(const char* name) { return *name && strcmp(name, "c99") ? nullptr : &C99; }

const Kernel& counting(const Kernel&) { return C99; }
#endif

const void* data_of(const void* file, int64_t bytes) { return ibert_data(file, bytes); }

}  // namespace ibert

namespace kind = ibert;
#include "serving.h"
