// The file of an int8_fast model as pointers into it: tensors.py gives their order.

#pragma once

#include <cstdint>
#include <cstring>

#include "classify.h"
#include "int8_linear.h"
#include "model.h"

namespace int8_fast {

using namespace classify;

inline constexpr int32_t FORMAT = 2, LAYER_SCALARS = 4;

struct Norm {
  const float *gamma, *beta;
  float eps;
};

struct Layer {
  Linear qkv, attention_out, ffn_in, ffn_out;
  Norm after_attention, after_ffn;
  static constexpr int32_t gelu_bits = 0;  // of integer models alone
};

struct Table {
  const int8_t* weight;
  const float* scale;
  int32_t rows;
};

struct View {
  const char* data;  // behind the header
  const char* instruction_set;
  Sizes sizes;
  int32_t exponent;
  Norm embeddings;
  Layer* layers;
  Linear dense, projection;  // the latter where embeddings are of another width than the layers
  const float *logits_weight, *logits_bias;
  const float* by_distance;  // (heads, 2 positions - 1), added to scores; null: nothing is
  Table tables[3];
};

using Kernel = KernelOf<View>;

// Returns the end of what it needs. Reads nothing behind the first two tensors and the eps.
inline const char* view_of(const char* data, View& view) {
  view.data = data;
  view.exponent = CLASSIFY_FLOAT;
  Cursor cursor = {data};
  const auto* model = cursor.take<int32_t>(MODEL_SCALARS);
  view.sizes = sizes_of(model);
  const Sizes& s = view.sizes;
  const auto* products = cursor.take<int32_t>(round_up(s.stored(), 4) * LAYER_SCALARS);
  const int64_t one = s.stride(), inner = s.inner();
  const auto linear = [](int64_t n, int64_t k, int32_t products) {
    return Linear{n, k, round_up(k, K_ALIGNED), products, nullptr, nullptr, nullptr, nullptr};
  };
  for (int32_t i = 0; i < s.stored(); i++) {
    const int32_t* row = products + i * LAYER_SCALARS;
    Layer& layer = view.layers[i];
    layer.qkv = linear(3 * one, s.hidden, row[0]), layer.attention_out = linear(one, s.hidden, row[1]);
    layer.ffn_in = linear(inner, s.hidden, row[2]), layer.ffn_out = linear(one, s.ffn, row[3]);
  }
  view.dense = linear(one, s.hidden, model[12]);
  view.projection = linear(one, s.embedding, model[14]);
  each_linear(view, [&cursor](Linear& l) { l.weight = cursor.take<int8_t>(l.n * l.padded_k); });
  each_linear(view, [&cursor](Linear& l) {
    l.scale = cursor.take<float>(l.n);
    l.sums = cursor.take<float>(l.n);
    l.bias = cursor.take<float>(l.n);
  });
  const auto norm = [&](Norm& each, int64_t size) {
    each.gamma = cursor.take<float>(size);
    each.beta = cursor.take<float>(size);
    memcpy(&each.eps, model + 13, sizeof(float));
  };
  norm(view.embeddings, s.embedded());
  for (int32_t i = 0; i < s.stored(); i++) {
    norm(view.layers[i].after_attention, s.hidden);
    norm(view.layers[i].after_ffn, s.hidden);
  }
  view.logits_weight = cursor.take<float>(int64_t(s.outputs) * s.hidden);
  view.logits_bias = cursor.take<float>(s.outputs);
  view.by_distance = s.distances ? cursor.take<float>(int64_t(s.heads) * (2 * int64_t(s.positions) - 1)) : nullptr;
  const int32_t rows[3] = {s.words, s.positions, s.types};
  for (int i = 0; i < 3; i++) {
    view.tables[i].rows = rows[i];
    view.tables[i].scale = cursor.take<float>(rows[i]);
  }
  for (Table& table : view.tables) table.weight = cursor.take<int8_t>(int64_t(table.rows) * s.embedded());
  return cursor.at;
}

inline bool in_bounds(const Sizes& s) {
  constexpr int32_t MOST_COLUMNS = 1 << 16, MOST_ROWS_OF_TABLE = 1 << 24;
  const auto within = [](int32_t low, int32_t number, int32_t high) { return low <= number && number <= high; };
  return within(1, s.hidden, MOST_COLUMNS) && within(1, s.layers, MOST_LAYERS) && within(1, s.heads, s.hidden) &&
         s.hidden % s.heads == 0 && within(1, s.ffn, MOST_COLUMNS) && within(1, s.words, MOST_ROWS_OF_TABLE) &&
         within(1, s.positions, MOST_ROWS_OF_TABLE) && within(0, s.types, MOST_ROWS_OF_TABLE) &&
         within(0, s.first_position, s.positions - 1) && within(1, s.outputs, MOST_COLUMNS) &&
         within(0, s.activation, 1) && within(0, s.head_activation, 2) && within(0, s.distances, 1) &&
         within(0, s.shared, s.layers) && within(0, s.embedding, s.hidden);
}

// Where the tensors begin; null if the file is cut off, too long or of another format.
inline const void* data_of(const void* file, int64_t bytes) {
  uint64_t header;
  if (bytes < int64_t(sizeof header)) return nullptr;
  memcpy(&header, file, sizeof header);
  if (header > uint64_t(bytes) || (header + sizeof header) % K_ALIGNED) return nullptr;
  const char* data = static_cast<const char*>(file) + sizeof header + header;
  const int64_t left = bytes - int64_t(header) - int64_t(sizeof header);
  if (left < MODEL_SCALARS * 4) return nullptr;
  int32_t model[MODEL_SCALARS];
  memcpy(model, data, sizeof model);
  const Sizes sizes = sizes_of(model);
  if (model[0] != FORMAT || !in_bounds(sizes) || left < (MODEL_SCALARS + round_up(sizes.stored(), 4) * LAYER_SCALARS) * 4)
    return nullptr;
  Layer layers[MOST_LAYERS];
  View view = {};
  view.layers = layers;
  if (view_of(data, view) != data + left) return nullptr;
  bool known = true;
  each_linear(view, [&known](const Linear& l) { known = known && safe_l::avx2_tiles_for(l.products); });
  return known ? data : nullptr;
}

}  // namespace int8_fast
