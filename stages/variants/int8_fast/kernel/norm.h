// LayerNorm, of a sum or of one array, in place: a third array of that size would be one more that no cache
// holds.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace int8_fast {

inline float total(__m256 v) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

// x becomes (s - mean) / sqrt(variance + eps) * weight + bias of s = x + other, n numbers each; of x alone
// where there is no other. The
// variance is that of the differences to the mean: the mean of squares minus the square of the mean
// would lose digits where the mean is large. What rounding left of the mean (`drift`) is taken out as
// well; otherwise it would be all the variance that a row of equal numbers has. NaN or infinity in a
// row gives a row of NaN.
template <bool OTHER>
inline void normalized(float* x, const float* other, const float* weight, const float* bias, float eps,
                       int64_t n) {
  __m256 sums = _mm256_setzero_ps(), apart_sums = sums, squares = sums;
  float sum = 0, apart_sum = 0, squared = 0;
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256 s = _mm256_loadu_ps(x + i);
    if constexpr (OTHER) {
      s = _mm256_add_ps(s, _mm256_loadu_ps(other + i));
      _mm256_storeu_ps(x + i, s);
    }
    sums = _mm256_add_ps(sums, s);
  }
  for (; i < n; i++) {
    if constexpr (OTHER) x[i] += other[i];
    sum += x[i];
  }
  const float mean = (sum + total(sums)) / float(n);
  const __m256 means = _mm256_set1_ps(mean);
  for (i = 0; i + 8 <= n; i += 8) {
    const __m256 apart = _mm256_sub_ps(_mm256_loadu_ps(x + i), means);
    apart_sums = _mm256_add_ps(apart_sums, apart);
    squares = _mm256_fmadd_ps(apart, apart, squares);
  }
  for (; i < n; i++) {
    apart_sum += x[i] - mean;
    squared += (x[i] - mean) * (x[i] - mean);
  }
  const float drift = (apart_sum + total(apart_sums)) / float(n);
  // In this order of operands the maximum keeps NaN.
  const float variance = std::max((squared + total(squares)) / float(n) - drift * drift, 0.0f);
  const float inverse = 1.0f / std::sqrt(variance + eps);
  const __m256 factor = _mm256_set1_ps(inverse), drifts = _mm256_set1_ps(drift);
  for (i = 0; i + 8 <= n; i += 8) {
    const __m256 apart = _mm256_sub_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), means), drifts);
    const __m256 normal = _mm256_mul_ps(apart, factor);
    const __m256 scaled = _mm256_fmadd_ps(normal, _mm256_loadu_ps(weight + i), _mm256_loadu_ps(bias + i));
    _mm256_storeu_ps(x + i, scaled);
  }
  for (; i < n; i++) x[i] = (x[i] - mean - drift) * inverse * weight[i] + bias[i];
}

inline void add_and_normalize(float* x, const float* other, const float* weight, const float* bias,
                              float eps, int64_t n) {
  normalized<true>(x, other, weight, bias, eps, n);
}

}  // namespace int8_fast
