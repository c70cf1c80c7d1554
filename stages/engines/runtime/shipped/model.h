// What all kinds of packed models have in common: sizes, memory, texts, and what runs them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "dictionary.h"
#include "team.h"

namespace classify {

using safe_l::K_ALIGNED;
using safe_l::PANEL;
using safe_l::pieces;
using safe_l::round_up;

inline constexpr int32_t MODEL_SCALARS = 32, MOST_LAYERS = 256;

inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t least_of(int64_t a, int64_t b) { return a < b ? a : b; }

// The numbers behind the format in the tensor `model`.
struct Sizes {
  int32_t hidden, layers, heads, ffn, words, positions, types, first_position, outputs, activation,
      head_activation;
  // From the end of `model` on: 1 if something is added to scores by distance; how many layers have weights of their
  // own, if not all; and columns of the embeddings, if a Linear leads from there to `hidden`.
  int32_t distances, shared, embedding;
  int64_t stored() const { return shared ? shared : layers; }
  int64_t embedded() const { return embedding ? embedding : hidden; }
  int64_t stride() const { return round_up(hidden, PANEL); }
  int64_t inner() const { return round_up(ffn, PANEL); }
  int64_t widest() const { return round_up(most(ffn, hidden), K_ALIGNED); }
};

inline Sizes sizes_of(const int32_t* model) {
  Sizes s;
  memcpy(&s, model + 1, offsetof(Sizes, distances));
  s.distances = model[MODEL_SCALARS - 1], s.shared = model[MODEL_SCALARS - 2], s.embedding = model[MODEL_SCALARS - 3];
  return s;
}

// One tensor behind the other.
struct Cursor {
  const char* at;
  template <typename T>
  const T* take(int64_t count) {
    const auto* found = reinterpret_cast<const T*>(at);
    at += count * int64_t(sizeof(T));
    return found;
  }
};

// Every Linear, in the order of the file.
template <typename View, typename Each>
void each_linear(View& view, const Each& each) {
  for (int32_t i = 0; i < view.sizes.stored(); i++) {
    auto& layer = view.layers[i];
    for (auto* linear : {&layer.qkv, &layer.attention_out, &layer.ffn_in, &layer.ffn_out}) each(*linear);
  }
  each(view.dense);
  if (view.sizes.embedding) each(view.projection);
}

// A block of memory, cut into pieces that begin at cache lines.
struct Arena {
  char* at;
  int64_t used = 0;
  template <typename T>
  T* take(int64_t count) {
    T* found = at ? reinterpret_cast<T*>(at + used) : nullptr;
    used += round_up(count * int64_t(sizeof(T)), 64) + 64;
    return found;
  }
};

struct Texts {
  int64_t count;
  const int64_t* starts;
  const int32_t *ids, *types;
  int64_t tokens() const { return starts[count]; }
  int64_t longest() const {
    int64_t most = 0;
    for (int64_t i = 0; i < count; i++)
      if (starts[i + 1] - starts[i] > most) most = starts[i + 1] - starts[i];
    return most;
  }
};

// One way to run a kind of model.
template <typename View>
struct KernelOf {
  const char* name;
  int64_t (*bytes_needed)(const View&, const Texts&, int32_t threads);
  // What thread `thread` of the team does of one call; returns how many numbers it has cut.
  int64_t (*run)(const View&, const Texts&, Team&, int32_t thread, char* memory, void* logits);
};

}  // namespace classify
