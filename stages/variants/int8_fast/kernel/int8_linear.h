// A Linear layer in int8 for x86 CPUs: y = activation(x W' + b), float32 in and out. What the names
// mean stands in dictionary.h.
//
// THE BOUND. AVX2's one int8 multiply, vpmaddubsw, takes unsigned activations and signed weights and
// adds two neighbouring products into an int16. Libraries widen that to int32 at once (vpmaddwd,
// vpaddd), because more would overflow: three instructions for one multiply. But activations here
// have 7 bits, 0..127, whatever the text is. So an int16 lane that adds up several products cannot
// overflow, for any input, if the weights that meet in it obey
//
//     127 * (sum of the positive ones) <= 32767  and  127 * (sum of the negative ones) >= -32768,
//
// that is 258 either way. rounding.py chooses each output channel's scale so that this holds for
// groups of S multiplies (2 S weights to a lane) and proves it on the integers that it packs. Then
// S multiplies may be added in int16 (vpaddw) before one widening. The result is exact, not saturated.
//
// THE LAYOUT. Weights (n, k) are packed in panels of 16 output channels, k padded to a multiple of
// 64 and n to one of 16, with zeros:
//
//     panel 0                                                     panel 1 ...
//     k 0..3: | ch 0: k0 k1 k2 k3 | ch 1: k0 k1 k2 k3 | ... ch 7 |   one 32-byte register
//             | ch 8: k0 k1 k2 k3 | ...                   ch 15 |   the next one
//     k 4..7: | ch 0: k4 k5 k6 k7 | ...
//
// Four activations of one row are broadcast (vpbroadcastd) against 8 channels at a time:
//
//     register   | q0 q1 q2 q3 | q0 q1 q2 q3 | ...       u8, one row of x
//     x weights  | w0 w1 w2 w3 | w0 w1 w2 w3 | ...       s8, channel 0, channel 1, ...
//     vpmaddubsw | q0w0+q1w1  q2w2+q3w3 | ...            int16: two lanes for each channel
//
// Activations stay row-major: no packing, a row is quantized once for all channels.
//
// THE TILE. 6 rows x 16 channels: 12 int16 accumulators, 2 registers of weights, one broadcast and one
// product, which is all 16 registers that there are. Every S steps they are widened and added to 6x16
// int32 that live in the L1 cache. With S = 1 or 2 that would happen too often; then the tile is
// 3 x 16 with its int32 in registers. The panel of weights (16 x up to 1024 bytes) stays in L1 while
// the rows of a block (up to 256 KB, in L2) pass over it; a longer k is cut, and the int32 carried on.
//
// WHERE THE TIME GOES, as perf saw one thread on a Zen 4 in BERT-base's layers (16 texts of 53 tokens,
// S = 16): nine tenths in the tile, 6 % in the epilogue (scales, bias, GELU), 3 % in quantizing.
// `make bench` times the whole layer at 16 shapes.
//
// THE FILES: dictionary.h (names and constants); then, in the order in which numbers pass through
// them, activations.h (float32 to 7 bits), tiles.h (the products), here what comes after, and block.h,
// which walks over one block; attention.h and norm.h are what else a BERT does. They run in two ways:
// classify.cpp puts them behind the runtime's interface, a whole batch in one call, which is what the
// pipeline and an export run; kernel.cpp makes torch's operators of them, for TorchScript.
//
// CPUs with AVX512-VNNI multiply and widen in one instruction (vpdpbusd). The same panels are 16
// int32 lanes of 64 bytes there, so only the tile differs; the integers are the same.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "activations.h"
#include "dictionary.h"
#include "tiles.h"

namespace int8_fast {

using safe_l::PANEL;

// ---- epilogue: int32 sums -> float32 outputs ---------------------------------------------------

// erf of x >= -3.8 as x P(x^2) / Q(x^2), beyond 3.8 as there; a least-squares fit, error below 7e-7.
inline __m256 erf8(__m256 x) {
  x = _mm256_min_ps(_mm256_set1_ps(3.8f), x);
  const __m256 z = _mm256_mul_ps(x, x);
  const auto next = [&z](__m256 sum, float coefficient) {
    return _mm256_fmadd_ps(sum, z, _mm256_set1_ps(coefficient));
  };
  __m256 p = _mm256_set1_ps(-1.7070625517590088e-06f), q = _mm256_set1_ps(0.0027561895549297333f);
  p = next(next(p, 0.00029759921017102897f), 0.011568511836230755f);
  p = next(next(next(p, 0.07610591500997543f), 0.3937571048736572f), 1.1283769607543945f);
  q = next(next(next(next(q, 0.030660158023238182f), 0.19496630132198334f), 0.6822654008865356f), 1);
  return _mm256_div_ps(_mm256_mul_ps(x, p), q);
}

struct Linear {
  int64_t n, k, padded_k;
  int64_t products;
  const int8_t* weight;              // packed
  const float *scale, *sums, *bias;  // `channels`, padded to whole panels
};

// Nothing saturates here: what the integer models count there.
struct Cuts {
  int64_t total = 0;
};

#include "block.h"

inline void start_sums(const Linear&, int64_t, const Row*, int64_t count, int32_t* sums) {
  std::fill(sums, sums + count * PANEL, 0);
}

template <Then THEN>
__m256 activate(__m256 y) {
  // The order of operands keeps NaN.
  if constexpr (THEN == Then::relu) return _mm256_max_ps(_mm256_setzero_ps(), y);
  if constexpr (THEN != Then::gelu) return y;
  // Below it is 0 to 3e-7, but would be y times the rounding error of 1 + erf.
  y = _mm256_max_ps(_mm256_set1_ps(-5.374f), y);
  const __m256 half = _mm256_mul_ps(y, _mm256_set1_ps(0.5f));
  return _mm256_fmadd_ps(half, erf8(_mm256_mul_ps(y, _mm256_set1_ps(0.70710678f))), half);
}

// y = scale_row * scale_channel * sums + low_row * channel_sums + bias, and what comes then. Columns behind n are
// not written.
template <Then THEN>
void finish(const Linear& linear, int64_t panel, const int32_t* sums, const Row* rows, int64_t count, int32_t,
            float* y, int64_t stride, Cuts&) {
  const int64_t column = panel * PANEL, width = std::min(PANEL, linear.n - column);
  for (int h = 0; h < 2; h++) {
    const int64_t first = column + 8 * h;
    const __m256 scale = _mm256_loadu_ps(linear.scale + first);
    const __m256 channel = _mm256_loadu_ps(linear.sums + first);
    const __m256 bias = _mm256_loadu_ps(linear.bias + first);
    for (int64_t r = 0; r < count; r++) {
      const auto* from = reinterpret_cast<const __m256i*>(sums + PANEL * r + 8 * h);
      const __m256 product = _mm256_cvtepi32_ps(_mm256_load_si256(from));
      const __m256 offset = _mm256_fmadd_ps(_mm256_set1_ps(rows[r].low), channel, bias);
      const __m256 per = _mm256_mul_ps(_mm256_set1_ps(rows[r].scale), scale);
      const __m256 out = activate<THEN>(_mm256_fmadd_ps(product, per, offset));
      float* to = y + r * stride + 8 * h;
      if (width >= 8 * (h + 1)) {
        if constexpr (THEN == Then::residual) _mm256_storeu_ps(to, _mm256_add_ps(out, _mm256_loadu_ps(to)));
        else _mm256_storeu_ps(to, out);
      } else {
        alignas(32) float lanes[8];
        _mm256_store_ps(lanes, out);
        for (int64_t lane = 0; lane < width - 8 * h; lane++)
          to[lane] = THEN == Then::residual ? lanes[lane] + to[lane] : lanes[lane];
      }
    }
  }
}

}  // namespace int8_fast
