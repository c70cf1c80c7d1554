// The five functions of classify.h, of one kind of model: opening a file, choosing a kernel, memory, threads.
//
// Whoever includes this has a namespace `kind`, with View, Layer and Kernel (KernelOf<View>), and
//
//   data_of(file, bytes)        where the tensors begin; null if the file is cut off or of another format
//   view_of(data, view)         pointers into it; view.layers is set
//   choose(name)                the kernel of that name, or the best for ""; null if this CPU cannot run it
//   counting(kernel)            the one of the same answers that counts what is cut

#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "classify.h"
#include "model.h"
#include "team.h"

namespace classify {

using namespace kind;

inline const char* wrong_with(const Sizes& sizes, const Texts& texts) {
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

inline constexpr int32_t MOST_THREADS = 256;

// One call, as its threads see it.
struct Call {
  const Kernel& kernel;
  const View& view;
  const Texts& texts;
  void* logits;
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

}  // namespace classify

struct classify_model {
  char* file;
  int64_t bytes;
  const classify::Kernel* kernel;
  mutable std::atomic<classify::Memory*> spare;  // of the last call that ended; null while another one uses it
  classify::View view;
  classify::Layer layers[classify::MOST_LAYERS];
};

extern "C" {

#define CLASSIFY_PUBLIC __attribute__((visibility("default")))

CLASSIFY_PUBLIC classify_model* classify_open(const char* path, const char* instruction_set, char* error, int64_t error_bytes) {
  const auto fail = [&](const char* why) -> classify_model* {
    snprintf(error, size_t(error_bytes), "%s %s", path, why);
    return nullptr;
  };
  const classify::Kernel* kernel = classify::choose(instruction_set);
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
  auto* model = static_cast<classify_model*>(malloc(sizeof(classify_model)));
  const void* data = classify::data_of(file, facts.st_size);
  if (model && data) {
    new (model) classify_model{static_cast<char*>(file), int64_t(facts.st_size), kernel, {nullptr}, {}, {}};
    model->view.layers = model->layers;
    classify::view_of(static_cast<const char*>(data), model->view);
    model->view.instruction_set = kernel->name;
    return model;
  }
  free(model);
  munmap(file, size_t(facts.st_size));
  return fail(data ? "needs more memory than there is" : "is cut off, or not of the format that this library reads");
}

CLASSIFY_PUBLIC void classify_describe(const classify_model* model, int32_t* outputs, int32_t* exponent, int32_t* longest) {
  *outputs = model->view.sizes.outputs;
  *exponent = model->view.exponent;
  *longest = model->view.sizes.positions - model->view.sizes.first_position;
}

CLASSIFY_PUBLIC const char* classify_instruction_set(const classify_model* model) { return model->kernel->name; }

CLASSIFY_PUBLIC const char* classify_texts(const classify_model* model, int32_t count, const int64_t* starts,
                                        const int32_t* ids, const int32_t* types, int32_t threads, void* logits,
                                        int64_t* cuts) {
  using namespace classify;
  const Texts texts = {count, starts, ids, types};
  if (const char* wrong = wrong_with(model->view.sizes, texts)) return wrong;
  if (count == 0) return nullptr;
  threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
  Call call = {cuts ? counting(*model->kernel) : *model->kernel, model->view, texts, logits};
  const int64_t bytes = round_up(call.kernel.bytes_needed(model->view, texts, threads), 64);
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

CLASSIFY_PUBLIC void classify_close(classify_model* model) {
  munmap(model->file, size_t(model->bytes));
  free(model->spare.load());
  free(model);
}

}  // extern "C"
