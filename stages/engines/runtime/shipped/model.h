// What all kinds of packed models have in common: sizes, memory, texts, and what runs them.

#pragma once

#include <cstdint>
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
  int64_t stride() const { return round_up(hidden, PANEL); }
  int64_t inner() const { return round_up(ffn, PANEL); }
  int64_t widest() const { return round_up(most(ffn, hidden), K_ALIGNED); }
};

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
  for (int32_t i = 0; i < view.sizes.layers; i++) {
    auto& layer = view.layers[i];
    for (auto* linear : {&layer.qkv, &layer.attention_out, &layer.ffn_in, &layer.ffn_out}) each(*linear);
  }
  each(view.dense);
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
