// A Linear layer in int8 for x86 CPUs: y = activation(x W' + b), float32 in and out.
//
// THE BOUND. AVX2's one int8 multiply, vpmaddubsw, takes unsigned activations and signed weights and
// adds two neighbouring products into an int16. Libraries widen that to int32 at once (vpmaddwd,
// vpaddd), because more would overflow: three instructions for one multiply. But activations here
// have 7 bits, 0..127, whatever the text is. So an int16 lane that adds up several products cannot
// overflow, for any input, if the weights that meet in it obey
//
//     127 * (sum of the positive ones) <= 32767  and  127 * (sum of the negative ones) >= -32768,
//
// that is 258 either way. packing.py chooses each output channel's scale so that this holds for
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
// WHERE THE TIME GOES: see `make bench`; of a 768 x 768 layer about 3 % is quantizing, 4 % the
// epilogue (scales, bias, GELU), the rest multiplies at nearly the rate of a loop in registers.
//
// CPUs with AVX512-VNNI multiply and widen in one instruction (vpdpbusd). The same panels are 16
// int32 lanes of 64 bytes there, so only the tile differs; the integers are the same.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>

namespace {

constexpr int64_t PANEL = 16;          // output channels
constexpr int64_t K_ALIGNED = 64;      // 16 steps of 4, the largest S
constexpr int64_t K_BLOCK = 1024;      // of which a panel takes half of L1
constexpr int64_t ROWS_BYTES = 1 << 18;  // of activations that stay in L2

enum class Act : int64_t { none = 0, gelu = 1, relu = 2 };

// ---- activations: float32 -> 7 bits, one offset and one scale per row -------------------------

struct Row {
  float low, scale;  // x = low + scale * q
};

float lowest(__m256 v) {
  __m128 m = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_min_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_min_ss(m, _mm_movehdup_ps(m)));
}

// A row that holds NaN or infinity gets NaN as its offset, so all its outputs are NaN.
Row quantize_row(const float* x, int64_t k, int64_t padded, uint8_t* q) {
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
  const float scale = std::max((hi / 2 - lo / 2) / 63.5f, std::numeric_limits<float>::min());
  if (!(strange == 0.0f) || !(scale < inf)) {
    std::fill(q, q + padded, uint8_t(0));
    return {std::numeric_limits<float>::quiet_NaN(), 1.0f};
  }
  // Of halves here too: x - lo of two finite numbers may be infinite.
  const float half_lo = lo / 2, inverse = 2.0f / scale;
  const __m256 half = _mm256_set1_ps(0.5f), offset = _mm256_set1_ps(half_lo);
  const __m256 per = _mm256_set1_ps(inverse);
  const __m256i top = _mm256_set1_epi8(127);
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
    // The bound rests on this: nothing above 127, whatever rounding did.
    const __m256i safe = _mm256_min_epu8(_mm256_permutevar8x32_epi32(bytes, order), top);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i), safe);
  }
  for (; i < k; i++) {
    const float steps = (x[i] * 0.5f - half_lo) * inverse;
    q[i] = uint8_t(std::clamp(std::nearbyint(steps), 0.0f, 127.0f));
  }
  std::fill(q + k, q + padded, uint8_t(0));
  return {lo, scale};
}

// ---- tiles: int32 sums of ROWS x 16, added to what is there ------------------------------------

using Tile = void (*)(const uint8_t* a, int64_t stride, const int8_t* b, int64_t k, int32_t* sums);

__m256i load(const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

int32_t four(const uint8_t* a) {
  int32_t bytes;
  __builtin_memcpy(&bytes, a, 4);
  return bytes;
}

// One row of one step: two registers of products, set or added to the accumulators.
//
// In assembly because the tile needs all 16 registers: gcc 12 spills the intrinsics' version, which
// halves the speed. The broadcast's own register takes the last product, which saves the 17th. The
// sanitizers cannot look into assembly, so their build (PLAIN_TILE) takes the intrinsics.
template <int ROW, bool FIRST>
__attribute__((always_inline)) inline void multiply(
    __m256i* acc, const uint8_t* a, const uint8_t* a3, int64_t stride, int step, __m256i w0,
    __m256i w1) {
#ifdef PLAIN_TILE
  const __m256i x = _mm256_set1_epi32(four((ROW < 3 ? a : a3) + ROW % 3 * stride + 4 * step));
  const __m256i p0 = _mm256_maddubs_epi16(x, w0), p1 = _mm256_maddubs_epi16(x, w1);
  acc[0] = FIRST ? p0 : _mm256_add_epi16(acc[0], p0);
  acc[1] = FIRST ? p1 : _mm256_add_epi16(acc[1], p1);
#else
  __m256i x, p;
#define SET(ADDRESS)                                                               \
  asm volatile("vpbroadcastd " ADDRESS ", %[x]\n\t"                                \
               "vpmaddubsw %[w0], %[x], %[a0]\n\t"                                 \
               "vpmaddubsw %[w1], %[x], %[a1]"                                     \
               : [a0] "=&x"(acc[0]), [a1] "=&x"(acc[1]), [x] "=&x"(x)              \
               : [a] "r"(ROW < 3 ? a : a3), [s] "r"(stride), [d] "i"(4 * step),    \
                 [w0] "x"(w0), [w1] "x"(w1)                                        \
               : "memory")
#define ADD(ADDRESS)                                                               \
  asm volatile("vpbroadcastd " ADDRESS ", %[x]\n\t"                                \
               "vpmaddubsw %[w0], %[x], %[p]\n\t"                                  \
               "vpmaddubsw %[w1], %[x], %[x]\n\t"                                  \
               "vpaddw %[p], %[a0], %[a0]\n\t"                                     \
               "vpaddw %[x], %[a1], %[a1]"                                         \
               : [a0] "+x"(acc[0]), [a1] "+x"(acc[1]), [x] "=&x"(x), [p] "=&x"(p)  \
               : [a] "r"(ROW < 3 ? a : a3), [s] "r"(stride), [d] "i"(4 * step),    \
                 [w0] "x"(w0), [w1] "x"(w1)                                        \
               : "memory")
  if constexpr (FIRST && ROW % 3 == 0) SET("%c[d](%[a])");
  if constexpr (FIRST && ROW % 3 == 1) SET("%c[d](%[a],%[s])");
  if constexpr (FIRST && ROW % 3 == 2) SET("%c[d](%[a],%[s],2)");
  if constexpr (!FIRST && ROW % 3 == 0) ADD("%c[d](%[a])");
  if constexpr (!FIRST && ROW % 3 == 1) ADD("%c[d](%[a],%[s])");
  if constexpr (!FIRST && ROW % 3 == 2) ADD("%c[d](%[a],%[s],2)");
#undef SET
#undef ADD
#endif
}

template <int ROWS, bool FIRST>
__attribute__((always_inline)) inline void step_of(
    __m256i (*acc)[2], const uint8_t* a, const uint8_t* a3, int64_t stride, int step,
    const int8_t* b) {
  const __m256i w0 = load(b), w1 = load(b + 32);
  multiply<0, FIRST>(acc[0], a, a3, stride, step, w0, w1);
  if constexpr (ROWS > 1) multiply<1, FIRST>(acc[1], a, a3, stride, step, w0, w1);
  if constexpr (ROWS > 2) multiply<2, FIRST>(acc[2], a, a3, stride, step, w0, w1);
  if constexpr (ROWS > 3) multiply<3, FIRST>(acc[3], a, a3, stride, step, w0, w1);
  if constexpr (ROWS > 4) multiply<4, FIRST>(acc[4], a, a3, stride, step, w0, w1);
  if constexpr (ROWS > 5) multiply<5, FIRST>(acc[5], a, a3, stride, step, w0, w1);
}

// S >= 4: int16 accumulators in registers, int32 in the cache.
template <int ROWS, int S>
void tile_of_many(const uint8_t* a, int64_t stride, const int8_t* b, int64_t k, int32_t* sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  auto* out = reinterpret_cast<__m256i*>(sums);
  for (int64_t i = 0; i < k; i += 4 * S, a += 4 * S, b += 64 * S) {
    __m256i acc[ROWS][2];
    const uint8_t* a3 = a + 3 * stride;
    step_of<ROWS, true>(acc, a, a3, stride, 0, b);
#pragma GCC unroll 16
    for (int s = 1; s < S; s++) step_of<ROWS, false>(acc, a, a3, stride, s, b + 64 * s);
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++) {
        const __m256i wide = _mm256_madd_epi16(acc[r][h], ones);
        out[2 * r + h] = _mm256_add_epi32(out[2 * r + h], wide);
      }
  }
}

// S = 1 or 2: everything in registers, by intrinsics.
template <int ROWS, int S>
void tile_of_few(const uint8_t* a, int64_t stride, const int8_t* b, int64_t k, int32_t* sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  auto* out = reinterpret_cast<__m256i*>(sums);
  __m256i acc[ROWS][2];
  for (int r = 0; r < ROWS; r++)
    for (int h = 0; h < 2; h++) acc[r][h] = out[2 * r + h];
  for (int64_t i = 0; i < k; i += 4 * S, b += 64 * S)
#pragma GCC unroll 3
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++) {
        const uint8_t* row = a + r * stride + i;
        __m256i p = _mm256_maddubs_epi16(_mm256_set1_epi32(four(row)), load(b + 32 * h));
        if (S == 2) {
          const __m256i x = _mm256_set1_epi32(four(row + 4));
          p = _mm256_add_epi16(p, _mm256_maddubs_epi16(x, load(b + 64 + 32 * h)));
        }
        acc[r][h] = _mm256_add_epi32(acc[r][h], _mm256_madd_epi16(p, ones));
      }
  for (int r = 0; r < ROWS; r++)
    for (int h = 0; h < 2; h++) out[2 * r + h] = acc[r][h];
}

// AVX512-VNNI: no int16, so no bound; the same panels, one register of 16 int32 per row.
template <int ROWS>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))) void tile_of_vnni(
    const uint8_t* a, int64_t stride, const int8_t* b, int64_t k, int32_t* sums) {
  __m512i acc[ROWS];
  for (int r = 0; r < ROWS; r++) acc[r] = _mm512_loadu_si512(sums + 16 * r);
#pragma GCC unroll 4
  for (int64_t i = 0; i < k; i += 4, b += 64) {
    const __m512i w = _mm512_loadu_si512(b);
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
      acc[r] = _mm512_dpbusd_epi32(acc[r], _mm512_set1_epi32(four(a + r * stride + i)), w);
  }
  for (int r = 0; r < ROWS; r++) _mm512_storeu_si512(sums + 16 * r, acc[r]);
}

constexpr int64_t MOST_ROWS = 12;

// Tiles of 1, 2, ... rows; `rows` is the largest.
struct Tiles {
  int64_t rows;
  Tile of[MOST_ROWS];
};

template <int S>
constexpr Tiles MANY = {6, {tile_of_many<1, S>, tile_of_many<2, S>, tile_of_many<3, S>,
                            tile_of_many<4, S>, tile_of_many<5, S>, tile_of_many<6, S>}};
template <int S>
constexpr Tiles FEW = {3, {tile_of_few<1, S>, tile_of_few<2, S>, tile_of_few<3, S>}};
constexpr Tiles VNNI = {12, {tile_of_vnni<1>, tile_of_vnni<2>, tile_of_vnni<3>, tile_of_vnni<4>,
                             tile_of_vnni<5>, tile_of_vnni<6>, tile_of_vnni<7>, tile_of_vnni<8>,
                             tile_of_vnni<9>, tile_of_vnni<10>, tile_of_vnni<11>,
                             tile_of_vnni<12>}};

// For S, 0 for AVX512-VNNI, -S for whichever this CPU runs faster; null where there is no such tile.
const Tiles* tiles_for(int64_t products) {
  if (products < 0) {
    const bool vnni = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl");
    products = vnni ? 0 : -products;
  }
  switch (products) {
    case 0: return &VNNI;
    case 1: return &FEW<1>;
    case 2: return &FEW<2>;
    case 4: return &MANY<4>;
    case 8: return &MANY<8>;
    case 16: return &MANY<16>;
  }
  return nullptr;
}

// ---- epilogue: int32 sums -> float32 outputs ---------------------------------------------------

// erf of x >= -3.8 as x P(x^2) / Q(x^2), beyond 3.8 as there; a least-squares fit, error below 7e-7.
__m256 erf8(__m256 x) {
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

template <Act ACT>
__m256 activate(__m256 y) {
  // The order of operands keeps NaN.
  if (ACT == Act::relu) return _mm256_max_ps(_mm256_setzero_ps(), y);
  if (ACT == Act::none) return y;
  // Below it is 0 to 3e-7, but would be y times the rounding error of 1 + erf.
  y = _mm256_max_ps(_mm256_set1_ps(-5.374f), y);
  const __m256 half = _mm256_mul_ps(y, _mm256_set1_ps(0.5f));
  return _mm256_fmadd_ps(half, erf8(_mm256_mul_ps(y, _mm256_set1_ps(0.70710678f))), half);
}

struct Layer {
  const int8_t* packed;
  const float *scale, *sums, *bias;  // per channel, padded to panels; sums: scale * sum of weights
  int64_t n, k, padded_k;
};

// y = scale_row * scale_channel * sums + low_row * channel_sums + bias
template <Act ACT>
void epilogue(const Layer& layer, int64_t panel, const int32_t* sums, const Row* rows,
              int64_t count, float* y) {
  const int64_t column = panel * PANEL, width = std::min(PANEL, layer.n - column);
  for (int h = 0; h < 2; h++) {
    const int64_t first = column + 8 * h;
    const __m256 scale = _mm256_loadu_ps(layer.scale + first);
    const __m256 channel = _mm256_loadu_ps(layer.sums + first);
    const __m256 bias = _mm256_loadu_ps(layer.bias + first);
    for (int64_t r = 0; r < count; r++) {
      const auto* from = reinterpret_cast<const __m256i*>(sums + PANEL * r + 8 * h);
      const __m256 product = _mm256_cvtepi32_ps(_mm256_load_si256(from));
      const __m256 offset = _mm256_fmadd_ps(_mm256_set1_ps(rows[r].low), channel, bias);
      const __m256 per = _mm256_mul_ps(_mm256_set1_ps(rows[r].scale), scale);
      const __m256 out = activate<ACT>(_mm256_fmadd_ps(product, per, offset));
      float* to = y + r * layer.n + first;
      if (width >= 8 * (h + 1)) {
        _mm256_storeu_ps(to, out);
      } else {
        alignas(32) float lanes[8];
        _mm256_store_ps(lanes, out);
        for (int64_t lane = 0; lane < width - 8 * h; lane++) to[lane] = lanes[lane];
      }
    }
  }
}

using Epilogue = void (*)(const Layer&, int64_t, const int32_t*, const Row*, int64_t, float*);

// ---- the layer ---------------------------------------------------------------------------------

// Rows [begin, end) times panels [first, last).
void block(const Layer& layer, const Tiles& tiles, Epilogue finish, const uint8_t* q,
           const Row* rows, int64_t begin, int64_t end, int64_t first, int64_t last, float* y) {
  const int64_t k = layer.padded_k, cuts = (k + K_BLOCK - 1) / K_BLOCK;
  const int64_t cut = (k / cuts + K_ALIGNED - 1) / K_ALIGNED * K_ALIGNED;
  // A whole number of tiles.
  const int64_t tall = std::max<int64_t>(ROWS_BYTES / k / tiles.rows, 1) * tiles.rows;
  // Aligned for whole registers.
  const std::unique_ptr<void, void (*)(void*)> kept(std::aligned_alloc(64, tall * PANEL * 4), free);
  auto* sums = static_cast<int32_t*>(kept.get());
  for (int64_t top = begin; top < end; top += tall) {
    const int64_t bottom = std::min(top + tall, end);
    const int64_t height = (bottom - top + tiles.rows - 1) / tiles.rows;
    const int64_t share = (cut * PANEL / 64 + height - 1) / height;
    for (int64_t panel = first; panel < last; panel++) {
      std::fill(sums, sums + (bottom - top) * PANEL, 0);
      for (int64_t from = 0; from < k; from += cut) {
        const int8_t* b = layer.packed + panel * PANEL * k + PANEL * from;
        for (int64_t row = top; row < bottom; row += tiles.rows) {
          const int64_t count = std::min(tiles.rows, bottom - row);
          int32_t* tile = sums + (row - top) * PANEL;
          // This tile's share of the next panel; past the end of the weights it does nothing.
          const int8_t* next = b + PANEL * k + 64 * share * ((row - top) / tiles.rows);
          for (int64_t line = 0; line < share; line++) _mm_prefetch(next + 64 * line, _MM_HINT_T0);
          tiles.of[count - 1](q + row * k + from, k, b, std::min(cut, k - from), tile);
          if (from + cut >= k) finish(layer, panel, tile, rows + row, count, y + row * layer.n);
        }
      }
    }
  }
}

}  // namespace
