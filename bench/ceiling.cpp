// What one core of this CPU can do at most: register-only loops, no loads, no stores.
//
// Each returns billions of operations per second; a multiplication and an addition are two. The
// accumulators are as many as a real kernel of 6 rows and 16 columns has (12), so that the latency
// of one addition hides behind the others. Inline assembly, because a compiler would see that the
// operands never change and move the multiplications out of the loop.

#include <stdint.h>
#include <time.h>

namespace {

double seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

// The highest of five: an interruption can only make it slower.
template <typename Step>
double best(Step step, double operations_per_step) {
  double highest = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const int64_t steps = 2'000'000;
    const double start = seconds();
    for (int64_t i = 0; i < steps; ++i) step();
    const double found = operations_per_step * steps / (seconds() - start) / 1e9;
    if (found > highest) highest = found;
  }
  return highest;
}

#define CLOBBERED \
  "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", \
      "ymm11", "ymm12", "ymm13", "ymm14", "ymm15"

#define FMA(acc) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #acc "\n"

// A product of 32 pairs of bytes, 16 sums in int16, which are widened to 8 in int32 at once.
#define WIDEN_AT_ONCE(acc)                       \
  "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\n"       \
  "vpmaddwd %%ymm13, %%ymm12, %%ymm12\n"         \
  "vpaddd %%ymm12, %%ymm" #acc ", %%ymm" #acc "\n"

#define ADD_INT16(acc)                           \
  "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\n"       \
  "vpaddw %%ymm12, %%ymm" #acc ", %%ymm" #acc "\n"

// After 16 sums of products: widened once, and int16 starts again.
#define WIDEN(acc)                               \
  "vpmaddwd %%ymm13, %%ymm" #acc ", %%ymm12\n"   \
  "vpaddd %%ymm12, %%ymm15, %%ymm11\n"           \
  "vpxor %%ymm" #acc ", %%ymm" #acc ", %%ymm" #acc "\n"

#define TEN(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9)
#define TWELVE(X) TEN(X) X(10) X(11)

#define VNNI(acc) "vpdpbusd %%zmm14, %%zmm15, %%zmm" #acc "\n"

}  // namespace

extern "C" double fp32_gops() {  // 8 lanes, 12 accumulators
  return best([] { asm volatile(TWELVE(FMA)::: CLOBBERED); }, 12 * 8 * 2);
}

extern "C" double int8_widened_at_once_gops() {  // 32 products and their additions, 12 of them
  return best([] { asm volatile(TWELVE(WIDEN_AT_ONCE)::: CLOBBERED); }, 12 * 32 * 2);
}

extern "C" double int8_16_products_gops() {  // 10 accumulators: ymm11 takes the int32 sums
  return best(
      [] {
        for (int i = 0; i < 16; ++i) asm volatile(TEN(ADD_INT16)::: CLOBBERED);
        asm volatile(TEN(WIDEN)::: CLOBBERED);
      },
      16 * 10 * 32 * 2);
}

// Only to be called where the CPU has AVX512_VNNI.
extern "C" double int8_vnni_gops() {
  return best([] { asm volatile(TWELVE(VNNI)::: CLOBBERED); }, 12 * 64 * 2);
}
