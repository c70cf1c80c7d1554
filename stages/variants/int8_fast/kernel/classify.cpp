// An int8_fast model behind the five functions of classify.h. For x86 CPUs with AVX2.

#include <cmath>
#include <cstring>

#include "model.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#include "attention.h"
#include "int8_linear.h"
#include "norm.h"
#include "view.h"

namespace int8_fast {

inline const char* tiles_of(const View& view) { return view.instruction_set; }

// The order of the sum is that of encoder.py.
inline void embed(const View& view, int32_t id, int32_t position, int32_t type, float* x) {
  const int64_t n = view.sizes.embedded();
  const Table &words = view.tables[0], &positions = view.tables[1], &types = view.tables[2];
  const int8_t *word = words.weight + id * n, *place = positions.weight + position * n;
  for (int64_t i = 0; i < n; i++) x[i] = float(word[i]) * words.scale[id];
  if (view.sizes.types)
    for (int64_t i = 0; i < n; i++) x[i] += float(types.weight[type * n + i]) * types.scale[type];
  for (int64_t i = 0; i < n; i++) x[i] += float(place[i]) * positions.scale[position];
}

inline void normalize(float* x, const Norm& norm, const View&, int64_t n, Cuts&) {
  normalized<false>(x, nullptr, norm.gamma, norm.beta, norm.eps, n);
}

inline void attend(const View& view, const Layer&, int64_t head, Head query, Head key, Head value, int64_t size, float* out,
                   int64_t stride, void* memory) {
  const int64_t distances = 2 * int64_t(view.sizes.positions) - 1;
  const float* none = view.by_distance ? view.by_distance + head * distances + view.sizes.positions - 1 : nullptr;
  attend(query, key, value, size, none, out, stride, memory);
}

// In this order of operands the maximum keeps NaN.
inline float of_head(int32_t activation, float x) {
  if (activation == 0) return std::tanh(x);
  return activation == 1 ? std::max(x, 0.0f) : 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
}

inline void logits_of(const View& view, float* dense, int64_t text, void* logits) {
  const int64_t n = view.sizes.hidden, outputs = view.sizes.outputs;
  auto* out = static_cast<float*>(logits) + text * outputs;
  for (int64_t d = 0; d < n; d++) dense[d] = of_head(view.sizes.head_activation, dense[d]);
  for (int64_t o = 0; o < outputs; o++) {
    float sum = 0;
    for (int64_t d = 0; d < n; d++) sum += dense[d] * view.logits_weight[o * n + d];
    out[o] = sum + view.logits_bias[o];
  }
}

#include "forward.h"

}  // namespace int8_fast
#pragma GCC pop_options

namespace int8_fast {

// The float operators are the same for all; only the tiles differ.
const Kernel AVX2 = {"avx2", bytes_needed, run}, VNNI = {"vnni", bytes_needed, run}, AMX = {"amx", bytes_needed, run};

const Kernel* choose(const char* name) {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool vnni = avx2 && safe_l::cpu_has_vnni(), amx = avx2 && safe_l::cpu_has_amx();
  if (!*name) return amx ? &AMX : vnni ? &VNNI : avx2 ? &AVX2 : nullptr;
  if (!strcmp(name, "amx")) return amx ? &AMX : nullptr;
  if (!strcmp(name, "vnni")) return vnni ? &VNNI : nullptr;
  return !strcmp(name, "avx2") && avx2 ? &AVX2 : nullptr;
}

const Kernel& counting(const Kernel& chosen) { return chosen; }

}  // namespace int8_fast

namespace kind = int8_fast;
#include "serving.h"
