// The CPU's own witness: clears the sticky exception flags of the floating-point unit (MXCSR) in every thread, runs
// texts through an integer model, and reads them. Any inexact float operation sets one.
//
//   ibert_witness MODEL INSTRUCTION_SET THREADS < texts
//
// A line of the input is a text, `id id ... [| type type ...]`; all of them are one batch. Prints the number of threads that ran, all their flags, and as a control those of one float LayerNorm.

#include <algorithm>
#include <cmath>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

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

int64_t run(const ibert::View& view, const classify::Texts& texts, classify::Team& team, int32_t thread, char* memory,
            void* logits) {
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
  classify_model* model = classify_open(argv[1], argv[2], error, sizeof error);
  if (!model) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }
  watched = model->kernel;
  const ibert::Kernel witness = {watched->name, watched->bytes_needed, run};
  model->kernel = &witness;
  std::vector<int64_t> starts = {0};
  std::vector<int32_t> ids, types;
  std::string line, word;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    for (auto* to = &ids; words >> word;) word == "|" ? (void)(to = &types) : to->push_back(std::stoi(word));
    starts.push_back(int64_t(ids.size()));
  }
  const auto texts = int32_t(starts.size() - 1);
  std::vector<int32_t> logits(size_t(texts) * size_t(model->view.sizes.outputs));
  if (const char* wrong = classify_texts(model, texts, starts.data(), ids.data(),
                                         types.empty() ? nullptr : types.data(), atoi(argv[3]), logits.data(),
                                         nullptr)) {
    fprintf(stderr, "%s\n", wrong);
    return 1;
  }
  printf("threads %d\ninteger 0x%x\n", ran.load(), raised.load());
  printf("one_float_layernorm 0x%x\n", of_a_float_layernorm());
  classify_close(model);
}
