// Tiles: the sums of ROWS x PANEL, added to what is there. "THE TILE" in int8_linear.h explains them.
//
// Few rows leave little time for each panel of weights, and a whole model's weights fit into no cache of
// a core. So with every step a tile asks for a bit of what is read next, and all tiles together for the
// whole of it: lines asked for all at once wait for each other. In layers of BERT-base that were in no
// cache, 16 rows took 1.6 times as long, on a Zen 4. A line that was asked for already costs one load,
// a branch around it more.

#pragma once

#include <cpuid.h>
#include <immintrin.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdint>
#include <string_view>
#include <utility>

#include "dictionary.h"

namespace safe_l {

struct Ahead {
  uintptr_t next;  // an address: it may lie past the end of the weights, where nothing is fetched
  uintptr_t bytes;  // of each step

  void fetch() {
    _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T0);
    next += bytes;
  }
};

using Tile = void (*)(const uint8_t* a, int64_t stride, const int8_t* b, int64_t k, Ahead ahead,
                      int32_t* sums);

inline __m256i load(const int8_t* b) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b));
}

// One step of a row, to be broadcast.
inline int32_t four(const uint8_t* a) {
  int32_t bytes;
  __builtin_memcpy(&bytes, a, STEP);
  return bytes;
}

// The same sums in plain loops, whatever S is: what the other tiles are compared with.
template <int ROWS>
void tile_of_scalar(const uint8_t* a, int64_t stride, const int8_t* b, int64_t k, Ahead, int32_t* sums) {
  for (int64_t i = 0; i < k; i++)
    for (int64_t r = 0; r < ROWS; r++)
      for (int64_t channel = 0; channel < PANEL; channel++)
        sums[r * PANEL + channel] +=
            a[r * stride + i] * b[i / STEP * STEP_BYTES + channel * STEP + i % STEP];
}

// One row of one step: two registers of products, set or added to the accumulators.
//
// In assembly because the tile needs all 16 registers: gcc 12 spills the intrinsics' version, which
// halves the speed. The broadcast's own register takes the last product, which saves the 17th. In
// intrinsics, with x = _mm256_set1_epi32(four(its row and step)):
//
//     acc[0] = _mm256_add_epi16(acc[0], _mm256_maddubs_epi16(x, w0)), and acc[1] with w1
template <int ROW, bool FIRST>
__attribute__((always_inline)) inline void multiply(
    __m256i* acc, const uint8_t* a, const uint8_t* a3, int64_t stride, int step, __m256i w0,
    __m256i w1) {
  __m256i x, p;
#define SET(ADDRESS)                                                               \
  asm volatile("vpbroadcastd " ADDRESS ", %[x]\n\t"                                \
               "vpmaddubsw %[w0], %[x], %[a0]\n\t"                                 \
               "vpmaddubsw %[w1], %[x], %[a1]"                                     \
               : [a0] "=&x"(acc[0]), [a1] "=&x"(acc[1]), [x] "=&x"(x)              \
               : [a] "r"(ROW < 3 ? a : a3), [s] "r"(stride), [d] "i"(STEP * step), \
                 [w0] "x"(w0), [w1] "x"(w1)                                        \
               : "memory")
#define ADD(ADDRESS)                                                               \
  asm volatile("vpbroadcastd " ADDRESS ", %[x]\n\t"                                \
               "vpmaddubsw %[w0], %[x], %[p]\n\t"                                  \
               "vpmaddubsw %[w1], %[x], %[x]\n\t"                                  \
               "vpaddw %[p], %[a0], %[a0]\n\t"                                     \
               "vpaddw %[x], %[a1], %[a1]"                                         \
               : [a0] "+x"(acc[0]), [a1] "+x"(acc[1]), [x] "=&x"(x), [p] "=&x"(p)  \
               : [a] "r"(ROW < 3 ? a : a3), [s] "r"(stride), [d] "i"(STEP * step), \
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
}

template <int ROWS, bool FIRST>
__attribute__((always_inline)) inline void step_of(
    __m256i (*acc)[2], const uint8_t* a, const uint8_t* a3, int64_t stride, int step,
    const int8_t* b, Ahead& ahead) {
  ahead.fetch();
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
void tile_of_many(const uint8_t* a, int64_t stride, const int8_t* b, int64_t k, Ahead ahead,
                  int32_t* sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  auto* out = reinterpret_cast<__m256i*>(sums);
  for (int64_t i = 0; i < k; i += STEP * S, a += STEP * S, b += STEP_BYTES * S) {
    __m256i acc[ROWS][2];
    const uint8_t* a3 = a + 3 * stride;
    step_of<ROWS, true>(acc, a, a3, stride, 0, b, ahead);
#pragma GCC unroll 16
    for (int s = 1; s < S; s++)
      step_of<ROWS, false>(acc, a, a3, stride, s, b + STEP_BYTES * s, ahead);
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
void tile_of_few(const uint8_t* a, int64_t stride, const int8_t* b, int64_t k, Ahead ahead,
                 int32_t* sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  auto* out = reinterpret_cast<__m256i*>(sums);
  __m256i acc[ROWS][2];
  for (int r = 0; r < ROWS; r++)
    for (int h = 0; h < 2; h++) acc[r][h] = out[2 * r + h];
  for (int64_t i = 0; i < k; i += STEP * S, b += STEP_BYTES * S) {
    for (int s = 0; s < S; s++) ahead.fetch();
#pragma GCC unroll 3
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++) {
        const uint8_t* row = a + r * stride + i;
        __m256i p = _mm256_maddubs_epi16(_mm256_set1_epi32(four(row)), load(b + 32 * h));
        if (S == 2) {
          const __m256i x = _mm256_set1_epi32(four(row + STEP));
          p = _mm256_add_epi16(p, _mm256_maddubs_epi16(x, load(b + STEP_BYTES + 32 * h)));
        }
        acc[r][h] = _mm256_add_epi32(acc[r][h], _mm256_madd_epi16(p, ones));
      }
  }
  for (int r = 0; r < ROWS; r++)
    for (int h = 0; h < 2; h++) out[2 * r + h] = acc[r][h];
}

// AVX512-VNNI: no int16, so no bound; the same panels, one register of 16 int32 per row.
template <int ROWS>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))) void tile_of_vnni(
    const uint8_t* a, int64_t stride, const int8_t* b, int64_t k, Ahead ahead, int32_t* sums) {
  __m512i acc[ROWS];  // in registers only while every loop over it is unrolled
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++) acc[r] = _mm512_loadu_si512(sums + PANEL * r);
#pragma GCC unroll 4
  for (int64_t i = 0; i < k; i += STEP, b += STEP_BYTES) {
    ahead.fetch();
    const __m512i w = _mm512_loadu_si512(b);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++)
      acc[r] = _mm512_dpbusd_epi32(acc[r], _mm512_set1_epi32(four(a + r * stride + i)), w);
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++) _mm512_storeu_si512(sums + PANEL * r, acc[r]);
}

// AMX: the same panels once more. 64 inputs of a panel are one tile register of 16 x 64 bytes as they lie,
// 16 rows of activations another; one instruction adds 16 x 16 sums of 64 products.
#define SAFE_L_AMX __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512vnni")))

struct alignas(64) AmxShape {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Not a local: the compiler does not see that the instruction reads all of it.
inline constexpr AmxShape AMX_SHAPE;

SAFE_L_AMX inline void enter_amx() { _tile_loadconfig(&AMX_SHAPE); }

SAFE_L_AMX inline void leave_amx() { _tile_release(); }

template <int GROUPS>
SAFE_L_AMX void amx_groups(const uint8_t* a, int64_t stride, const int8_t* b, int64_t k, Ahead ahead,
                           int32_t* sums) {
  constexpr int64_t SUMS = 16 * PANEL;
  __asm__ volatile("" ::: "memory");  // nor that the others read and write memory
  _tile_loadd(0, sums, 64);
  if constexpr (GROUPS > 1) _tile_loadd(1, sums + SUMS, 64);
  if constexpr (GROUPS > 2) _tile_loadd(2, sums + 2 * SUMS, 64);
  if constexpr (GROUPS > 3) _tile_loadd(3, sums + 3 * SUMS, 64);
  for (int64_t i = 0; i < k; i += K_ALIGNED, a += K_ALIGNED, b += K_ALIGNED * PANEL) {
    for (int64_t step = 0; step < K_ALIGNED / STEP; step++) ahead.fetch();
    _tile_loadd(4, b, 64);
    _tile_loadd(5, a, stride);
    _tile_dpbusd(0, 5, 4);
    if constexpr (GROUPS > 1) {
      _tile_loadd(6, a + 16 * stride, stride);
      _tile_dpbusd(1, 6, 4);
    }
    if constexpr (GROUPS > 2) {
      _tile_loadd(7, a + 32 * stride, stride);
      _tile_dpbusd(2, 7, 4);
    }
    if constexpr (GROUPS > 3) {
      _tile_loadd(5, a + 48 * stride, stride);
      _tile_dpbusd(3, 5, 4);
    }
  }
  _tile_stored(0, sums, 64);
  if constexpr (GROUPS > 1) _tile_stored(1, sums + SUMS, 64);
  if constexpr (GROUPS > 2) _tile_stored(2, sums + 2 * SUMS, 64);
  if constexpr (GROUPS > 3) _tile_stored(3, sums + 3 * SUMS, 64);
  __asm__ volatile("" ::: "memory");
}

// Whole groups of 16 rows, and VNNI for the rest.
template <int ROWS>
void tile_of_amx(const uint8_t* a, int64_t stride, const int8_t* b, int64_t k, Ahead ahead,
                 int32_t* sums) {
  constexpr int WHOLE = ROWS / 16 * 16;
  if constexpr (WHOLE > 0) amx_groups<ROWS / 16>(a, stride, b, k, ahead, sums);
  if constexpr (ROWS > WHOLE)
    tile_of_vnni<ROWS - WHOLE>(a + WHOLE * stride, stride, b, k, ahead, sums + WHOLE * PANEL);
}

inline constexpr int64_t MOST_ROWS = 64;

inline void nothing() {}

// Tiles of 1, 2, ... rows; `rows` is the largest. What calls them enters before and leaves after.
struct Tiles {
  int64_t rows;
  Tile of[MOST_ROWS];
  void (*enter)() = nothing;
  void (*leave)() = nothing;
};

inline constexpr Tiles SCALAR = {4, {tile_of_scalar<1>, tile_of_scalar<2>, tile_of_scalar<3>,
                                     tile_of_scalar<4>}};
template <int S>
inline constexpr Tiles FEW = {3, {tile_of_few<1, S>, tile_of_few<2, S>, tile_of_few<3, S>}};
template <int S>
inline constexpr Tiles MANY = {6, {tile_of_many<1, S>, tile_of_many<2, S>, tile_of_many<3, S>,
                                   tile_of_many<4, S>, tile_of_many<5, S>, tile_of_many<6, S>}};
template <int... ROWS>
constexpr Tiles vnni_tiles(std::integer_sequence<int, ROWS...>) {
  return {sizeof...(ROWS), {tile_of_vnni<ROWS + 1>...}};
}
template <int... ROWS>
constexpr Tiles amx_tiles(std::integer_sequence<int, ROWS...>) {
  return {sizeof...(ROWS), {tile_of_amx<ROWS + 1>...}, enter_amx, leave_amx};
}
inline constexpr Tiles VNNI = vnni_tiles(std::make_integer_sequence<int, 12>());
inline constexpr Tiles AMX = amx_tiles(std::make_integer_sequence<int, MOST_ROWS>());

inline bool cpu_has_vnni() {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
}

// Linux gives the tile registers to a process that asks for them.
inline bool ask_for_amx() {
#ifdef __linux__
  constexpr unsigned AMX_TILE = 1u << 24, AMX_INT8 = 1u << 25;
  constexpr long ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18;
  unsigned a, b, c, d;
  if (!cpu_has_vnni() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  return (d & AMX_TILE) && (d & AMX_INT8) && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
#else
  return false;
#endif
}

inline bool cpu_has_amx() {
  static const bool given = ask_for_amx();
  return given;
}

inline const Tiles* avx2_tiles_for(int64_t products) {
  switch (products) {
    case 1: return &FEW<1>;
    case 2: return &FEW<2>;
    case 4: return &MANY<4>;
    case 8: return &MANY<8>;
    case 16: return &MANY<16>;
  }
  return nullptr;
}

// Null where there is no such instruction set, or no such S: which all have the same of, though only
// AVX2 adds in int16. "amx" and "vnni" stand for the best that there is up to them.
inline const Tiles* tiles_for(std::string_view instruction_set, int64_t products) {
  const Tiles* avx2 = avx2_tiles_for(products);
  if (!avx2 || instruction_set == "avx2") return avx2;
  if (instruction_set == "amx" && cpu_has_amx()) return &AMX;
  if (instruction_set == "amx" || instruction_set == "vnni") return cpu_has_vnni() ? &VNNI : avx2;
  return instruction_set == "scalar" ? &SCALAR : nullptr;
}

}  // namespace safe_l
