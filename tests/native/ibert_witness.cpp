// The CPU's own witness: clears the sticky exception flags of the floating-point unit (MXCSR) in every thread, runs
// texts through an integer model, and reads them. Any inexact float operation sets one.
//
//   ibert_witness MODEL INSTRUCTION_SET THREADS
//
// Prints the number of threads that ran, all their flags, and as a control those of one float LayerNorm.

#include <algorithm>
#include <cmath>

#include "classify.cpp"

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#include "norm.h"
#pragma GCC pop_options

namespace {

constexpr uint32_t STICKY = 0x3f;

const ibert::Kernel* watched;
std::atomic<uint32_t> raised{0};
std::atomic<int32_t> ran{0};

void clear() { _mm_setcsr(_mm_getcsr() & ~STICKY); }

int64_t run(const ibert::View& view, const ibert::Texts& texts, ibert::Team& team, int32_t thread, char* memory,
            int32_t* logits) {
  clear();
  const int64_t cuts = watched->run(view, texts, team, thread, memory, logits);
  raised |= _mm_getcsr() & STICKY;
  ran++;
  return cuts;
}

__attribute__((target("avx2,fma"))) uint32_t of_a_float_layernorm() {
  float x[16], other[16], weight[16], bias[16];
  for (int i = 0; i < 16; i++) x[i] = float(i), other[i] = 1, weight[i] = 1, bias[i] = 0;
  clear();
  int8_fast::add_and_normalize(x, other, weight, bias, 1e-5f, 16);
  volatile float used = x[3];
  (void)used;
  return _mm_getcsr() & STICKY;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  char error[300];
  ibert_model* model = ibert_open(argv[1], argv[2], error, sizeof error);
  if (!model) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }
  watched = model->kernel;
  const ibert::Kernel witness = {watched->name, watched->bytes_needed, run};
  model->kernel = &witness;
  constexpr int32_t TEXTS = 40, LENGTH = 23;
  static int64_t starts[TEXTS + 1];
  static int32_t ids[TEXTS * LENGTH], logits[TEXTS * 64];
  for (int32_t i = 0; i <= TEXTS; i++) starts[i] = int64_t(i) * LENGTH;
  for (int32_t i = 0; i < TEXTS * LENGTH; i++) ids[i] = int32_t((int64_t(i) * 7919) % model->view.sizes.words);
  if (const char* wrong = ibert_classify(model, TEXTS, starts, ids, nullptr, atoi(argv[3]), logits, nullptr)) {
    fprintf(stderr, "%s\n", wrong);
    return 1;
  }
  printf("threads %d\ninteger 0x%x\n", ran.load(), raised.load());
  printf("one_float_layernorm 0x%x\n", of_a_float_layernorm());
  ibert_close(model);
}
