// Attention of one text and one head in float32, for AVX2: softmax(Q K' / sqrt(size) + B) V.
//
// Texts are short and heads narrow, so a general matrix library spends much of its time getting
// ready. Here keys are transposed once (8 x 8 at a time), then both products run through one small
// tile: 4 rows x 24 columns, 12 accumulators. Scores of 4 queries live in L1 and are never written
// further. No mask: a text brings its own rows and no padding.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "dictionary.h"

namespace int8_fast {

using safe_l::round_up;

// c (R x 8 C) = a (R x depth) b (depth x 8 C), row-major with strides.
template <int R, int C>
inline void float_tile(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                       int64_t depth, float* c, int64_t c_stride) {
  __m256 sum[R][C];  // in registers only while every loop over it is unrolled
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int j = 0; j < C; j++) sum[r][j] = _mm256_setzero_ps();
  for (int64_t d = 0; d < depth; d++, b += b_stride) {
    __m256 row[C];
#pragma GCC unroll 3
    for (int j = 0; j < C; j++) row[j] = _mm256_loadu_ps(b + 8 * j);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      const __m256 x = _mm256_broadcast_ss(a + r * a_stride + d);
#pragma GCC unroll 3
      for (int j = 0; j < C; j++) sum[r][j] = _mm256_fmadd_ps(x, row[j], sum[r][j]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int j = 0; j < C; j++) _mm256_storeu_ps(c + r * c_stride + 8 * j, sum[r][j]);
}

// c (R x columns) = a (R x depth) b (depth x columns); columns is a multiple of 8.
template <int R>
inline void float_product(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                          int64_t depth, int64_t columns, float* c, int64_t c_stride) {
  int64_t j = 0;
  for (; j + 24 <= columns; j += 24)
    float_tile<R, 3>(a, a_stride, b + j, b_stride, depth, c + j, c_stride);
  if (columns - j == 16) float_tile<R, 2>(a, a_stride, b + j, b_stride, depth, c + j, c_stride);
  if (columns - j == 8) float_tile<R, 1>(a, a_stride, b + j, b_stride, depth, c + j, c_stride);
}

// e^x for x <= 0: 2^n e^r with |r| <= ln(2) / 2, e^r by its series; relative error below 3e-7.
inline __m256 exp8(__m256 x) {
  x = _mm256_max_ps(_mm256_set1_ps(-87.0f), x);  // in this order it keeps NaN
  const __m256 turns = _mm256_mul_ps(x, _mm256_set1_ps(1.44269504f));
  const __m256 n = _mm256_round_ps(turns, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 sum = _mm256_set1_ps(1.0f / 720);
  for (float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
    sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(c));
  const __m256i power = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum), power));
}

inline float across(__m256 v, bool largest) {
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, v);
  float all = lanes[0];
  for (int i = 1; i < 8; i++) all = largest ? std::max(all, lanes[i]) : all + lanes[i];
  return all;
}

// In place over `length` scores of a row that is padded to 8 columns: exp(scale * (s - largest)), 0
// behind the end; returns the sum. A row of NaN stays one.
inline float exponentials(float* row, int64_t length, int64_t padded, float scale) {
  std::fill(row + length, row + padded, -INFINITY);
  __m256 top = _mm256_loadu_ps(row);
  for (int64_t j = 8; j < padded; j += 8) top = _mm256_max_ps(top, _mm256_loadu_ps(row + j));
  const __m256 largest = _mm256_set1_ps(across(top, true)), factor = _mm256_set1_ps(scale);
  __m256 sum = _mm256_setzero_ps();
  for (int64_t j = 0; j < padded; j += 8) {
    const __m256 below = _mm256_sub_ps(_mm256_loadu_ps(row + j), largest);
    const __m256 e = exp8(_mm256_mul_ps(below, factor));
    _mm256_storeu_ps(row + j, e);
    sum = _mm256_add_ps(sum, e);
  }
  // What lies behind the end was exp(-87) each, too little to count.
  std::fill(row + length, row + padded, 0.0f);
  return across(sum, false);
}

// (length x size) with a stride -> (padded size x padded length), zeros behind the ends.
inline void transpose(const float* from, int64_t stride, int64_t length, int64_t size, float* to,
                      int64_t to_stride) {
  int64_t j = 0;
  for (; j + 8 <= length; j += 8) {
    int64_t d = 0;
    for (; d + 8 <= size; d += 8) {
      __m256 r[8], t[8];
      for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(from + (j + i) * stride + d);
      for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
      }
      for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
      }
      for (int i = 0; i < 4; i++) {
        const __m256 low = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        const __m256 high = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
        _mm256_storeu_ps(to + (d + i) * to_stride + j, low);
        _mm256_storeu_ps(to + (d + i + 4) * to_stride + j, high);
      }
    }
    for (; d < size; d++)
      for (int i = 0; i < 8; i++) to[d * to_stride + j + i] = from[(j + i) * stride + d];
  }
  for (int64_t d = 0; d < size; d++) {
    for (int64_t i = j; i < length; i++) to[d * to_stride + i] = from[i * stride + d];
    std::fill(to + d * to_stride + length, to + (d + 1) * to_stride, 0.0f);
  }
}

// One head of one text's queries, keys or values: `count` rows.
struct Head {
  const float* first;
  int64_t stride, count;
};

// Of memory that one head of a text of `length` keys needs.
inline int64_t scratch_bytes(int64_t length, int64_t size) {
  const int64_t wide = round_up(length, 8), full = round_up(size, 8);
  return (size * wide + 4 * wide + 4 * full + length * full) * int64_t(sizeof(float));
}

// One text, one head: out (queries x size) with a stride. The first query is the text's first token.
// added: to the score of two tokens, by the key's place less the query's, from that of distance 0 on; may be null.
// memory: `scratch_bytes` of it.
inline void attend(Head query, Head key, Head value, int64_t size, const float* added, float* out, int64_t out_stride,
                   void* memory) {
  const int64_t length = key.count, wide = round_up(length, 8), full = round_up(size, 8);
  auto* keys = static_cast<float*>(memory);
  float* scores = keys + size * wide;
  float* result = scores + 4 * wide;
  float* values = result + 4 * full;
  transpose(key.first, key.stride, length, size, keys, wide);
  // Rows of a layer's output lie a power of two apart, more or less, and would push each other out of
  // the cache.
  for (int64_t j = 0; j < length; j++) {
    std::copy_n(value.first + j * value.stride, size, values + j * full);
    std::fill(values + j * full + size, values + (j + 1) * full, 0.0f);
  }
  const float root = std::sqrt(float(size)), scale = 1.0f / root;
  for (int64_t i = 0; i < query.count; i += 4) {
    const int64_t rows = std::min<int64_t>(4, query.count - i);
    const float* q = query.first + i * query.stride;
    float sums[4];
    const auto of_rows = rows == 4   ? float_product<4>
                         : rows == 3 ? float_product<3>
                         : rows == 2 ? float_product<2>
                                     : float_product<1>;
    of_rows(q, query.stride, keys, wide, size, wide, scores, wide);
    if (added)
      for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < length; j++) scores[r * wide + j] += root * added[j - i - r];
    for (int64_t r = 0; r < rows; r++)
      sums[r] = exponentials(scores + r * wide, length, wide, scale);
    of_rows(scores, wide, values, full, length, full, result, full);
    for (int64_t r = 0; r < rows; r++) {
      const float factor = 1.0f / sums[r];
      float* to = out + (i + r) * out_stride;
      for (int64_t d = 0; d < size; d++) to[d] = factor * result[r * full + d];
    }
  }
}

}  // namespace int8_fast
