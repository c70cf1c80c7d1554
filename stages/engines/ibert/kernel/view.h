// An integer model's file as pointers into it: docs/ibert.md, "The file".

#pragma once

#include <cstdint>
#include <cstring>

#include "model.h"

namespace ibert {

using namespace classify;

inline constexpr int32_t LAYER_SCALARS = 20;

struct Linear {
  int64_t n, k, padded_k;
  int32_t shift, gain, products;
  const int8_t* weight;
  const int32_t* sums;
  const int16_t *multiplier, *bias, *limit;
};

struct Norm {
  const int16_t *gamma, *beta;
  int64_t eps;
};

struct Layer {
  Linear qkv, attention_out, ffn_in, ffn_out;
  Norm after_attention, after_ffn;
  int32_t score_shift, score_factor, gelu_bits;
};

struct Table {
  const int8_t* weight;
  const int16_t* multiplier;
  int32_t rows;
};

struct View {
  const char* data;  // behind the header
  const char* instruction_set;
  Sizes sizes;
  int32_t logit_shift, exponent, normal_bits;
  int64_t root;
  Norm embeddings;
  Layer* layers;
  Linear dense, projection;  // the latter of no integer model yet
  const int16_t* head_weight;
  const int32_t* head_bias;
  Table tables[3];
};

using Kernel = KernelOf<View>;

// Of `data` that `ibert_data` of ibert.h has found whole and its numbers in bounds.
inline void view_of(const char* data, View& view) {
  view.data = data;
  Cursor cursor = {data};
  const auto* model = cursor.take<int32_t>(MODEL_SCALARS);
  view.sizes = sizes_of(model);
  view.sizes.shared = view.sizes.embedding = 0;  // whatever a damaged file says there
  const Sizes& s = view.sizes;
  const auto* scalars = cursor.take<int32_t>(round_up(s.layers, 4) * LAYER_SCALARS);
  const int64_t one = round_up(s.hidden, PANEL), inner = round_up(s.ffn, PANEL);
  view.dense = {one, s.hidden, 0, model[12], model[13], model[14], nullptr, nullptr, nullptr, nullptr, nullptr};
  view.logit_shift = model[15], view.exponent = model[16], view.embeddings.eps = model[17];
  view.normal_bits = model[18], view.root = model[19];
  for (int32_t i = 0; i < s.layers; i++) {
    const int32_t* row = scalars + i * LAYER_SCALARS;
    Layer& layer = view.layers[i];
    const auto linear = [row](int64_t n, int64_t k, int first) {
      return Linear{n, k, 0, row[first], row[first + 1], row[first + 2], nullptr, nullptr, nullptr, nullptr, nullptr};
    };
    layer.qkv = linear(3 * one, s.hidden, 0), layer.attention_out = linear(one, s.hidden, 3);
    layer.ffn_in = linear(inner, s.hidden, 6), layer.ffn_out = linear(one, s.ffn, 9);
    layer.after_attention.eps = row[12], layer.after_ffn.eps = row[13];
    layer.score_shift = row[14], layer.score_factor = row[15], layer.gelu_bits = row[16];
  }
  each_linear(view, [&cursor](Linear& l) {
    l.padded_k = round_up(l.k, K_ALIGNED);
    l.weight = cursor.take<int8_t>(l.n * l.padded_k);
  });
  each_linear(view, [&cursor](Linear& l) { l.sums = cursor.take<int32_t>(l.n); });
  view.head_bias = cursor.take<int32_t>(s.outputs);
  each_linear(view, [&cursor](Linear& l) {
    l.multiplier = cursor.take<int16_t>(l.n);
    l.bias = cursor.take<int16_t>(l.n);
    l.limit = cursor.take<int16_t>(l.n);
  });
  const auto norm = [&](Norm& each) {
    each.gamma = cursor.take<int16_t>(s.hidden);
    each.beta = cursor.take<int16_t>(s.hidden);
  };
  norm(view.embeddings);
  for (int32_t i = 0; i < s.layers; i++) {
    norm(view.layers[i].after_attention);
    norm(view.layers[i].after_ffn);
  }
  view.head_weight = cursor.take<int16_t>(int64_t(s.outputs) * s.hidden);
  const int32_t rows[3] = {s.words, s.positions, s.types};
  for (int i = 0; i < 3; i++) {
    view.tables[i].rows = rows[i];
    view.tables[i].multiplier = cursor.take<int16_t>(rows[i]);
  }
  for (Table& table : view.tables) table.weight = cursor.take<int8_t>(int64_t(table.rows) * s.hidden);
}

}  // namespace ibert
