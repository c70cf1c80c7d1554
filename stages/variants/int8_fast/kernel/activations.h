// Activations: float32 -> 7 bits, one offset and one scale per row: x -> q, low and scale.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "dictionary.h"

namespace int8_fast {

// What lies between the layers.
using Number = float;

struct Row {
  float low, scale;
};

inline float lowest(__m256 v) {
  __m128 m = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_min_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_min_ss(m, _mm_movehdup_ps(m)));
}

// A row that holds NaN or infinity gets NaN as its offset, so all its outputs are NaN.
inline Row to_seven_bits(const float* x, int64_t k, int64_t padded, uint8_t* q) {
  const float inf = std::numeric_limits<float>::infinity();
  __m256 low = _mm256_set1_ps(inf), negated_high = low, odd = _mm256_setzero_ps();
  const __m256 zero = _mm256_setzero_ps();
  int64_t i = 0;
  for (; i + 8 <= k; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    low = _mm256_min_ps(low, v);
    negated_high = _mm256_min_ps(negated_high, _mm256_sub_ps(zero, v));
    odd = _mm256_fmadd_ps(v, zero, odd);  // 0, or NaN once there was NaN or infinity
  }
  float lo = lowest(low), hi = -lowest(negated_high), strange = 0;
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, odd);
  for (float lane : lanes) strange += lane;
  for (; i < k; i++) {
    lo = std::min(lo, x[i]);
    hi = std::max(hi, x[i]);
    strange += x[i] * 0.0f;
  }
  // Subtracting halves: the span of finite numbers may itself be infinite.
  const float least = std::numeric_limits<float>::min();
  const float scale = std::max((hi / 2 - lo / 2) / (safe_l::ACTIVATION_STEPS / 2.0f), least);
  if (!(strange == 0.0f) || !(scale < inf)) {
    std::fill(q, q + padded, uint8_t(0));
    return {std::numeric_limits<float>::quiet_NaN(), 1.0f};
  }
  // Of halves here too: x - lo of two finite numbers may be infinite.
  const float half_lo = lo / 2, inverse = 2.0f / scale;
  const __m256 half = _mm256_set1_ps(0.5f), offset = _mm256_set1_ps(half_lo);
  const __m256 per = _mm256_set1_ps(inverse);
  const __m256i top = _mm256_set1_epi8(safe_l::ACTIVATION_STEPS);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (i = 0; i + 32 <= k; i += 32) {
    __m256i part[4];
    for (int j = 0; j < 4; j++) {
      const __m256 v = _mm256_fmsub_ps(_mm256_loadu_ps(x + i + 8 * j), half, offset);
      part[j] = _mm256_cvtps_epi32(_mm256_mul_ps(v, per));
    }
    const __m256i low16 = _mm256_packs_epi32(part[0], part[1]);
    const __m256i high16 = _mm256_packs_epi32(part[2], part[3]);
    const __m256i bytes = _mm256_packus_epi16(low16, high16);
    // The bound rests on this: nothing above ACTIVATION_STEPS, whatever rounding did.
    const __m256i safe = _mm256_min_epu8(_mm256_permutevar8x32_epi32(bytes, order), top);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i), safe);
  }
  for (; i < k; i++) {
    const float steps = (x[i] * 0.5f - half_lo) * inverse;
    q[i] = uint8_t(std::clamp(std::nearbyint(steps), 0.0f, float(safe_l::ACTIVATION_STEPS)));
  }
  std::fill(q + k, q + padded, uint8_t(0));
  return {lo, scale};
}

}  // namespace int8_fast
