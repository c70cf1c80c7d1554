// Runs what int8_linear.h, attention.h and norm.h compute, without torch, against plain loops.
//
//   int8_linear heap       every buffer is a heap block of exactly its size, for AddressSanitizer
//   int8_linear guarded    every buffer ends where a page that may not be touched begins, because
//                          the sanitizers do not see what assembly reads and writes
//   int8_linear ... short    the same, but outputs have room for one number less: must be seen
//   int8_linear forward    one small layer in `forward`, whose instructions callgrind counts
//
// Prints what it did; ends with 1 and a line at the first wrong number.

#include "attention.h"
#include "dictionary.h"
#include "int8_linear.h"
#include "norm.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

using namespace safe_l;
using namespace int8_fast;

bool guarded = false;
int64_t missing = 0;  // outputs that there is no room for

// As many T as asked for, and not a byte that may be touched behind them.
template <class T>
struct Buffer {
  T* data;
  size_t bytes, mapped = 0;

  explicit Buffer(int64_t count) : bytes(count * sizeof(T)) {
    if (!guarded) {
      // Aligned where it is whole cache lines, as the sums must be.
      data = static_cast<T*>(bytes % 64 ? std::malloc(bytes) : std::aligned_alloc(64, bytes));
      return;
    }
    const size_t page = sysconf(_SC_PAGESIZE);
    mapped = (bytes + page - 1) / page * page + page;
    void* pages = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char* guard = static_cast<char*>(pages) + mapped - page;
    if (pages == MAP_FAILED || mprotect(guard, page, PROT_NONE)) std::perror("mmap"), std::exit(3);
    data = reinterpret_cast<T*>(guard - bytes);
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() {
    const size_t page = guarded ? sysconf(_SC_PAGESIZE) : 0;
    if (guarded) munmap(reinterpret_cast<char*>(data) + bytes + page - mapped, mapped);
    else std::free(data);
  }
  T& operator[](int64_t i) { return data[i]; }
};

uint32_t state = 1;
uint32_t random_below(uint32_t limit) {
  state = state * 1664525u + 1013904223u;
  return uint32_t((uint64_t(state) * limit) >> 32);
}

using Block = decltype(&block<Then::nothing>);

Block block_for(std::string_view activation) {
  if (activation == "residual") return block<Then::residual>;
  if (activation == "gelu") return block<Then::gelu>;
  return activation == "relu" ? block<Then::relu> : block<Then::nothing>;
}

extern "C" __attribute__((noinline)) void forward(const Linear& layer, const Tiles& tiles, Block run, const float* x,
                                                  int64_t m, uint8_t* q, Row* rows, int32_t* sums, float* y) {
  const int64_t k = layer.k, padded = layer.padded_k, panels = pieces(layer.n, PANEL), n = layer.n;
  for (int64_t r = 0; r < m; r++) rows[r] = to_seven_bits(x + r * k, k, padded, q + r * padded);
  // In two parts each way, as two threads would.
  const int64_t middle = std::min(m, round_up(m / 2, tiles.rows));
  Cuts cuts;
  for (int64_t half = 0; half < 2; half++) {
    const int64_t first = half ? panels / 2 : 0, last = half ? panels : panels / 2;
    run(layer, tiles, {q, rows}, 0, middle, first, last, 0, y, n, sums, cuts);
    run(layer, tiles, {q, rows}, middle, m, first, last, 0, y + middle * n, n, sums, cuts);
  }
}

double activated(std::string_view activation, double y) {
  if (activation == "relu") return std::max(y, 0.0);
  return activation == "gelu" ? y * 0.5 * std::erfc(-y * 0.7071067811865476) : y;
}

[[noreturn]] void wrong(const char* what, int64_t m, int64_t n, int64_t k, int64_t products) {
  std::printf("%s is wrong: m=%ld n=%ld k=%ld S=%ld\n", what, m, n, k, products);
  std::exit(1);
}

void check(int64_t m, int64_t n, int64_t k, std::string_view instruction_set, int64_t products,
           std::string_view activation) {
  const int64_t padded = round_up(k, K_ALIGNED), wide = round_up(n, PANEL);
  // The largest that all 2 S weights of a lane may have.
  const int largest = std::min(127, int(LANE_LIMIT / (2 * products)));
  Buffer<float> x(m * k), y(m * n - missing), channels(3 * wide);
  Buffer<int8_t> packed(wide * padded);
  Buffer<uint8_t> q(m * padded);
  Buffer<Row> rows(m);
  std::memset(packed.data, 0, packed.bytes);
  std::memset(channels.data, 0, channels.bytes);
  std::vector<int8_t> weights(n * k);
  for (int64_t j = 0; j < n; j++) {
    int64_t sum = 0;
    for (int64_t i = 0; i < k; i++) {
      // A channel of the largest, one of the smallest, one of either, the others of anything.
      const int sign = j % 4 == 0 ? 1 : j % 4 == 1 ? -1 : random_below(2) ? 1 : -1;
      const int weight = sign * (j % 4 < 3 ? largest : int(random_below(largest + 1)));
      weights[j * k + i] = weight;
      packed[(j / PANEL * padded + i / STEP * STEP) * PANEL + j % PANEL * STEP + i % STEP] = weight;
      sum += weight;
    }
    channels[j] = 0.5f / largest / std::sqrt(float(k));
    channels[wide + j] = float(double(sum) * channels[j]);
    channels[2 * wide + j] = float(random_below(1000)) / 500 - 1;
  }
  for (int64_t r = 0; r < m; r++)  // one row of extremes alone, one constant, the others anything
    for (int64_t i = 0; i < k; i++)
      x[r * k + i] = r % 3 == 0 ? (i ? 2.0f : -2.0f) : r % 3 == 1 ? 0.75f : random_below(4001) / 1000.0f - 2;
  const Linear layer = {n, k, padded, products, packed.data, channels.data, channels.data + wide,
                        channels.data + 2 * wide};
  const Tiles& tiles = *tiles_for(instruction_set, products);
  // What was there before counts for a residual alone.
  const bool residual = activation == "residual";
  for (int64_t i = 0; i < m * n - missing; i++) y[i] = residual ? 0.25f : NAN;
  Buffer<int32_t> sums(round_up(m, tiles.rows) * PANEL);  // whole cache lines, so aligned in both modes
  forward(layer, tiles, block_for(activation), x.data, m, q.data, rows.data, sums.data, y.data);
  for (int64_t r = 0; r < m; r++) {
    double span = 0;
    for (int64_t i = 0; i < padded; i++) {
      const double back = rows[r].low + double(rows[r].scale) * q[r * padded + i];
      if (q[r * padded + i] > ACTIVATION_STEPS || (i >= k && q[r * padded + i]))
        wrong("q", m, n, k, products);
      if (i < k && std::abs(back - x[r * k + i]) > 0.5001 * rows[r].scale + 1e-6)
        wrong("q", m, n, k, products);
      if (i < k) span += std::abs(back);
    }
    for (int64_t j = 0; j < n; j++) {
      int64_t sum = 0;
      for (int64_t i = 0; i < k; i++) sum += int64_t(q[r * padded + i]) * weights[j * k + i];
      const double product = double(rows[r].scale) * channels[j] * double(sum);
      const double exact = product + double(rows[r].low) * channels[wide + j] + channels[2 * wide + j];
      const double error = std::abs(y[r * n + j] - (residual ? 0.25 : 0) - activated(activation, exact));
      if (!(error <= 2e-6 + 1e-6 * (1 + span * channels[j] * largest))) wrong("y", m, n, k, products);
    }
  }
}

// One text of `length` rows, the first `queries` of them asked, as one of two heads of its rows; with what is added by
// distance and without.
void check_attention(int64_t length, int64_t queries, int64_t size, bool by_distance) {
  const int64_t stride = 2 * size;
  Buffer<float> q(queries * stride), k(length * stride), v(length * stride);
  Buffer<float> out(queries * stride);
  for (int64_t i = 0; i < queries * stride; i++) q[i] = random_below(2000) / 500.0f - 2;
  for (int64_t i = 0; i < length * stride; i++) k[i] = random_below(2000) / 500.0f - 2;
  for (int64_t i = 0; i < length * stride; i++) v[i] = random_below(2000) / 500.0f - 2;
  Buffer<char> scratch(scratch_bytes(length, size));
  Buffer<float> distances(2 * length - 1);
  for (int64_t i = 0; i < 2 * length - 1; i++) distances[i] = random_below(2000) / 500.0f - 2;
  const float* none = distances.data + length - 1;
  // The second head, which ends where its buffers end.
  attend({q.data + size, stride, queries}, {k.data + size, stride, length},
         {v.data + size, stride, length}, size, by_distance ? none : nullptr, out.data + size, stride, scratch.data);
  for (int64_t i = 0; i < queries; i++) {
    std::vector<double> shares(length), mixed(size);
    double sum = 0;
    for (int64_t j = 0; j < length; j++) {
      for (int64_t d = 0; d < size; d++)
        shares[j] += double(q[i * stride + size + d]) * k[j * stride + size + d];
      sum += shares[j] = std::exp(shares[j] / std::sqrt(double(size)) + (by_distance ? none[j - i] : 0));
    }
    for (int64_t d = 0; d < size; d++) {
      for (int64_t j = 0; j < length; j++) mixed[d] += shares[j] / sum * v[j * stride + size + d];
      if (!(std::abs(out[i * stride + size + d] - mixed[d]) <= 1e-5))
        wrong("attention", queries, length, size, 0);
    }
  }
}

void check_norm(int64_t n) {
  Buffer<float> x(n), other(n), weight(n), bias(n);
  std::vector<double> sums(n);
  double mean = 0, variance = 0;
  for (int64_t i = 0; i < n; i++) {
    other[i] = random_below(2000) / 500.0f + 10;
    weight[i] = random_below(2000) / 1000.0f;
    bias[i] = random_below(2000) / 1000.0f - 1;
    x[i] = random_below(2000) / 500.0f - 2;
    mean += (sums[i] = double(x[i]) + other[i]) / n;
  }
  for (double one : sums) variance += (one - mean) * (one - mean) / n;
  add_and_normalize(x.data, other.data, weight.data, bias.data, 1e-5f, n);
  for (int64_t i = 0; i < n; i++) {
    const double right = (sums[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i];
    if (!(std::abs(x[i] - right) <= 2e-5)) wrong("norm", 1, n, 0, 0);
  }
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "";
  missing = argc > 2 && !std::strcmp(argv[2], "short");
  if (!std::strcmp(mode, "forward")) {
    check(20, 72, 320, "avx2", 8, "gelu");
    return 0;
  }
  guarded = !std::strcmp(mode, "guarded");
  if (!guarded && std::strcmp(mode, "heap")) return std::puts("heap, guarded or forward?"), 2;
  const char* activations[] = {"none", "gelu", "relu", "residual"};
  int cases = 0;
  for (const char* instruction_set : {"scalar", "avx2", "vnni", "amx"}) {
    if (!std::strcmp(instruction_set, "vnni") && !cpu_has_vnni()) continue;
    if (!std::strcmp(instruction_set, "amx") && !cpu_has_amx()) continue;
    for (int64_t products : {1, 2, 4, 8, 16}) {
      for (int64_t m : {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 25})
        for (int64_t n : {1, 7, 8, 9, 16, 17, 33})
          for (int64_t k : {1, 7, 8, 31, 33, 64, 65, 191}) {
            check(m, n, k, instruction_set, products, activations[cases % 4]);
            cases++;
          }
      check(3, 17, 1025, instruction_set, products, "none");   // k in two cuts, the second one short
      check(130, 9, 2500, instruction_set, products, "gelu");  // k in three cuts
      cases += 2;
      // The others have the same tile for every S; with 1 the weights are the largest.
      if (std::strcmp(instruction_set, "avx2")) break;
    }
  }
  for (int64_t length : {1, 2, 3, 7, 8, 9, 17, 40})
    for (int64_t size : {1, 7, 8, 9, 16, 24, 25, 32, 64}) {
      for (bool by_distance : {false, true}) {
        check_attention(length, length, size, by_distance);
        check_attention(length, 1, size, by_distance);
      }
    }
  for (int64_t n : {1, 2, 7, 8, 9, 40, 63}) check_norm(n);
  std::printf("%d layers%s\n", cases, cpu_has_vnni() ? ", with VNNI" : "");
  return 0;
}
