// The five functions of classify.h: opening a file, choosing a kernel, threads.

#include "classify.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

extern "C" {
#include "ibert.h"
}
#include "model.h"
#include "team.h"

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
namespace counting {
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

struct Kernel {
  const char* name;
  int64_t (*bytes_needed)(const View&, const Texts&, int32_t threads);
  int64_t (*run)(const View&, const Texts&, Team&, int32_t thread, char* memory, int32_t* logits);
};

// Plain C, text by text.
namespace c99 {
int64_t bytes_each(const View& view, const Texts& texts) {
  return up(ibert_arena_bytes(view.data, int32_t(texts.longest())), 64);
}

int64_t bytes_needed(const View& view, const Texts& texts, int32_t threads) { return bytes_each(view, texts) * threads; }

int64_t run(const View& view, const Texts& texts, Team& team, int32_t thread, char* memory, int32_t* logits) {
  char* arena = memory + bytes_each(view, texts) * thread;
  team.share(texts.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t start = texts.starts[i];
      ibert_logits(view.data, texts.ids + start, texts.types ? texts.types + start : nullptr,
                   int32_t(texts.starts[i + 1] - start), arena, logits + i * view.sizes.outputs);
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
const Kernel COUNTING = {"avx2", counting::bytes_needed, counting::run};

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
const Kernel& counting_kernel(const Kernel& chosen) { return &chosen == &C99 ? C99 : COUNTING; }
#else
const Kernel* choose(const char* name) { return *name && strcmp(name, "c99") ? nullptr : &C99; }

const Kernel& counting_kernel(const Kernel&) { return C99; }
#endif

const char* wrong_with(const View& view, const Texts& texts) {
  const Sizes& sizes = view.sizes;
  if (texts.count < 0 || texts.starts[0] != 0) return "starts must begin with 0";
  for (int64_t i = 0; i < texts.count; i++) {
    const int64_t length = texts.starts[i + 1] - texts.starts[i];
    if (length < 1) return "a text has no token";
    if (length > sizes.positions - sizes.first_position) return "a text has more tokens than the model has positions";
  }
  for (int64_t i = 0; i < texts.tokens(); i++) {
    if (uint32_t(texts.ids[i]) >= uint32_t(sizes.words)) return "a token id is not in the model's vocabulary";
    if (texts.types && sizes.types && uint32_t(texts.types[i]) >= uint32_t(sizes.types))
      return "a token type is not in the model's table";
  }
  return nullptr;
}

constexpr int32_t MOST_THREADS = 256;

// One call, as its threads see it.
struct Call {
  const Kernel& kernel;
  const View& view;
  const Texts& texts;
  int32_t* logits;
  char* memory = nullptr;
  Team* team = nullptr;
  std::atomic<int64_t> cuts{0};
  std::atomic<int32_t> next_thread{1};
  pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;  // held until the team is whole

  void run(int32_t thread) { cuts += kernel.run(view, texts, *team, thread, memory, logits); }

  static void* join_in(void* call) {
    auto* mine = static_cast<Call*>(call);
    pthread_mutex_lock(&mine->starting);
    pthread_mutex_unlock(&mine->starting);
    mine->run(mine->next_thread++);
    return nullptr;
  }
};

// Memory of a call, kept for the next one: fresh memory is cleared and mapped by the system, page by page, which would
// take a twentieth of a short text's time.
struct alignas(64) Memory {
  int64_t bytes;
  char* begin() { return reinterpret_cast<char*>(this + 1); }
};

}  // namespace ibert

struct ibert_model {
  char* file;
  int64_t bytes;
  const ibert::Kernel* kernel;
  mutable std::atomic<ibert::Memory*> spare;  // of the last call that ended; null while another one uses it
  ibert::View view;
  ibert::Layer layers[ibert::MOST_LAYERS];
};

extern "C" {

#define IBERT_PUBLIC __attribute__((visibility("default")))

IBERT_PUBLIC ibert_model* ibert_open(const char* path, const char* instruction_set, char* error, int64_t error_bytes) {
  const auto fail = [&](const char* why) -> ibert_model* {
    snprintf(error, size_t(error_bytes), "%s %s", path, why);
    return nullptr;
  };
  const ibert::Kernel* kernel = ibert::choose(instruction_set);
  if (!kernel) {
    snprintf(error, size_t(error_bytes), "this CPU cannot run %s", instruction_set);
    return nullptr;
  }
  const int handle = open(path, O_RDONLY | O_CLOEXEC);
  if (handle < 0) return fail("cannot be opened");
  struct stat facts;
  const bool known = fstat(handle, &facts) == 0 && facts.st_size > 0;
  void* file = known ? mmap(nullptr, size_t(facts.st_size), PROT_READ, MAP_PRIVATE, handle, 0) : MAP_FAILED;
  close(handle);
  if (file == MAP_FAILED) return fail("cannot be mapped into memory");
  auto* model = static_cast<ibert_model*>(malloc(sizeof(ibert_model)));
  const void* data = ibert_data(file, facts.st_size);
  if (model && data) {
    new (model) ibert_model{static_cast<char*>(file), int64_t(facts.st_size), kernel, {nullptr}, {}, {}};
    model->view.layers = model->layers;
    ibert::view_of(static_cast<const char*>(data), model->view);
    model->view.instruction_set = kernel->name;
    return model;
  }
  free(model);
  munmap(file, size_t(facts.st_size));
  return fail(data ? "needs more memory than there is" : "is cut off, or no integer model of this format");
}

IBERT_PUBLIC void ibert_describe(const ibert_model* model, int32_t* outputs, int32_t* exponent, int32_t* longest) {
  *outputs = model->view.sizes.outputs;
  *exponent = model->view.exponent;
  *longest = model->view.sizes.positions - model->view.sizes.first_position;
}

IBERT_PUBLIC const char* ibert_instruction_set(const ibert_model* model) { return model->kernel->name; }

IBERT_PUBLIC const char* ibert_classify(const ibert_model* model, int32_t count, const int64_t* starts,
                                        const int32_t* ids, const int32_t* types, int32_t threads, int32_t* logits,
                                        int64_t* cuts) {
  using namespace ibert;
  const Texts texts = {count, starts, ids, types};
  if (const char* wrong = wrong_with(model->view, texts)) return wrong;
  if (count == 0) return nullptr;
  threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
  Call call = {cuts ? counting_kernel(*model->kernel) : *model->kernel, model->view, texts, logits};
  const int64_t bytes = up(call.kernel.bytes_needed(model->view, texts, threads), 64);
  Memory* memory = model->spare.exchange(nullptr);
  if (!memory || memory->bytes < bytes) {
    free(memory);
    memory = static_cast<Memory*>(aligned_alloc(64, sizeof(Memory) + size_t(bytes)));
    if (!memory) return "there is not enough memory for so many tokens";
    memory->bytes = bytes;
  }
  call.memory = memory->begin();
  pthread_t others[MOST_THREADS];
  int32_t started = 0;
  if (threads > 1) pthread_mutex_lock(&call.starting);
  while (started + 1 < threads && pthread_create(&others[started], nullptr, Call::join_in, &call) == 0) started++;
  Team team(started + 1);
  call.team = &team;
  if (threads > 1) pthread_mutex_unlock(&call.starting);
  call.run(0);
  for (int32_t i = 0; i < started; i++) pthread_join(others[i], nullptr);
  free(model->spare.exchange(memory));
  if (cuts) *cuts += call.cuts;
  return nullptr;
}

IBERT_PUBLIC void ibert_close(ibert_model* model) {
  munmap(model->file, size_t(model->bytes));
  free(model->spare.load());
  free(model);
}

}  // extern "C"
