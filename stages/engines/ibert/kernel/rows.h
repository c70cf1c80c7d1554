// Rows of int16: the sum of embeddings, LayerNorm, 7 bits for the next product, logits.

using Number = int16_t;

struct Row {
  int32_t z;
  int16_t inverse;  // m of docs/ibert.md
  int16_t bits;
};

// A vector that ends behind the last of n numbers reads and writes only those: buffers have that room, tensors of the
// file have not.
inline V load_some(const int16_t* p, int64_t count) {
  if (count >= LANES16) return load(p);
  alignas(64) int16_t lanes[LANES16] = {};
  memcpy(lanes, p, size_t(count) * 2);
  return load(lanes);
}

inline V load_some_bytes(const int8_t* p, int64_t count) {
  if (count >= LANES16) return widen_bytes(p);
  alignas(64) int8_t lanes[LANES16] = {};
  memcpy(lanes, p, size_t(count));
  return widen_bytes(lanes);
}

inline void store_some(int16_t* p, V a, int64_t count) {
  if (count >= LANES16) return store(p, a);
  alignas(64) int16_t lanes[LANES16];
  store(lanes, a);
  memcpy(p, lanes, size_t(count) * 2);
}

inline int32_t bits_of(uint64_t a) { return 64 - __builtin_clzll(a); }

// Int16 x[0..n) -> q[0..padded), 0 behind n.
inline Row to_seven_bits(const int16_t* x, int64_t n, int64_t padded, uint8_t* q) {
  V low = zero(), high = zero();
  int64_t i = 0;
  for (; i + LANES16 <= n; i += LANES16) {
    const V v = load(x + i);
    low = min16(low, v);
    high = max16(high, v);
  }
  if (i < n) {
    const V v = load_some(x + i, n - i);
    low = min16(low, v);
    high = max16(high, v);
  }
  const int32_t lo = extreme16(low, false), hi = extreme16(high, true), span = hi - lo;
  const int32_t per = (127 << 15) / (span > 128 ? span : 128);
  const int32_t z = (-lo * per + (1 << 14)) >> 15, bits = bits_of(uint32_t(per));
  const int32_t inverse = ((1 << (14 + bits)) + per / 2) / per;
  const V factor = all16(per), offset = all16(z);
  for (i = 0; i + LANES16 <= n; i += LANES16) store_bytes(q + i, add16(mulhrs(load(x + i), factor), offset));
  for (; i < n; i++) {
    const int32_t steps = ((x[i] * per + (1 << 14)) >> 15) + z;
    q[i] = uint8_t(steps < 0 ? 0 : steps > 127 ? 127 : steps);
  }
  memset(q + n, 0, size_t(padded - n));
  return {z, int16_t(inverse > 32767 ? 32767 : inverse), int16_t(bits)};
}

// The largest r with r^2 <= a, by Newton's steps from above.
inline uint64_t isqrt(uint64_t a) {
  if (a == 0) return 0;
  // 4 sqrt(lead + 1), rounded up, where lead is the leading 5 or 6 bits.
  static const uint8_t START[48] = {17, 17, 18, 18, 19, 19, 20, 20, 20, 21, 21, 22, 22, 22, 23, 23,
                                    23, 24, 24, 24, 25, 25, 25, 26, 26, 26, 27, 27, 27, 28, 28, 28,
                                    28, 29, 29, 29, 30, 30, 30, 30, 31, 31, 31, 31, 32, 32, 32, 32};
  const int32_t even = (bits_of(a) + 1) / 2 * 2;  // 2^(even-2) <= a < 2^even
  const uint64_t lead = even >= 6 ? a >> (even - 6) : a << (6 - even);  // 16..63
  // sqrt(a) < sqrt((lead + 1) 2^(even - 6)) <= START 2^(even / 2 - 5)
  const uint64_t start = START[lead - 16];
  uint64_t root = even >= 10 ? start << (even / 2 - 5) : (start >> (5 - even / 2)) + 1;
  for (;;) {
    const uint64_t next = (root + a / root) / 2;
    if (next >= root) return root;
    root = next;
  }
}

// LayerNorm of h in place.
inline void normalize(int16_t* h, const Norm& norm, const View& view, int64_t n, Cuts& cuts) {
  V sums = zero();
  const V ones = all16(1);
  int64_t i = 0;
  for (; i + LANES16 <= n; i += LANES16) sums = dot(sums, load(h + i), ones);
  if (i < n) sums = dot(sums, load_some(h + i, n - i), ones);
  const int64_t twice = 2 * total32(sums) + n;
  const int32_t mean = int32_t(twice >= 0 ? twice / (2 * n) : -((2 * n - 1 - twice) / (2 * n)));
  const V middle = all16(mean), low_half = srl64(all32(-1), 32);
  V squares = zero();
  for (i = 0; i < n; i += LANES16) {
    const V from = load_some(h + i, n - i), y = subs16(from, middle);
    cuts.count(y, sub16(from, middle));
    store_some(h + i, y, n - i);
    // Squares of a pair need 32 bits without a sign. What lies behind n counts for nothing.
    const V own = i + LANES16 <= n ? y : load_some(h + i, n - i);
    const V pairs = madd(own, own);
    squares = add64(squares, add64(and_(pairs, low_half), srl64(pairs, 32)));
  }
  const uint64_t root = isqrt(uint64_t(total64(squares) + norm.eps) << 16);
  const uint64_t small = root >> 8;
  const int32_t bits = small ? bits_of(small) : 0, raise = bits < 15 ? 15 - bits : 0;
  const uint64_t factor = (uint64_t(view.root) << (15 - raise)) / root;
  const V by = all16(factor > 32767 ? 32767 : int(factor));
  for (i = 0; i < n; i += LANES16) {
    const V normal = mulhrs(sll16(load_some(h + i, n - i), raise), by);
    const V scaled = mulhrs(normal, load_some(norm.gamma + i, n - i));
    const V beta = load_some(norm.beta + i, n - i), out = adds16(scaled, beta);
    cuts.count(out, add16(scaled, beta));
    store_some(h + i, out, n - i);
  }
}

// Int16 x[0..n) of one token. The multipliers are such that no sum leaves int16.
inline void embed(const View& view, int32_t id, int32_t position, int32_t type, int16_t* x) {
  const int32_t rows[3] = {id, position, type};
  const int64_t n = view.sizes.hidden;
  for (int64_t i = 0; i < n; i += LANES16) {
    V sum = zero();
    for (int part = 0; part < (view.sizes.types ? 3 : 2); part++) {
      const Table& table = view.tables[part];
      const V weight = load_some_bytes(table.weight + int64_t(rows[part]) * n + i, n - i);
      sum = add16(sum, mulhrs(weight, all16(table.multiplier[rows[part]])));
    }
    store_some(x + i, sum, n - i);
  }
}

// ---- the head, of one text ---------------------------------------------------------------------

inline int16_t relu_of(int16_t p) { return p > 0 ? p : int16_t(0); }

inline int16_t tanh_q15(int16_t p) {
  const auto round15 = [](int32_t a, int32_t f) { return (a * f + (1 << 14)) >> 15; };
  const int32_t power = ((p < 0 ? -p : p) * 23637) >> 10, f = power & 32767, whole = power >> 15;
  const int32_t e = (32767 + round15(round15(round15(-1298, f) + 7575, f) - 22662, f)) >> (whole < 31 ? whole : 31);
  const int32_t t = int32_t((int64_t(32768 - e) << 15) / (32768 + e)), inside = t > 32767 ? 32767 : t;
  return int16_t(p < 0 ? -inside : inside);
}

// dense: what `head.dense` gave, overwritten.
inline void logits_of(const View& view, int16_t* dense, int64_t text, void* logits) {
  const Sizes& sizes = view.sizes;
  const int64_t n = sizes.hidden;
  auto* out = static_cast<int32_t*>(logits) + text * sizes.outputs;
  for (int64_t d = 0; d < n; d++) dense[d] = sizes.head_activation == 0 ? tanh_q15(dense[d]) : relu_of(dense[d]);
  for (int64_t o = 0; o < sizes.outputs; o++) {
    int64_t sum = int64_t(1) << (view.logit_shift - 1);
    for (int64_t d = 0; d < n; d++) sum += int64_t(dense[d]) * view.head_weight[o * n + d];
    out[o] = int32_t((sum >> view.logit_shift) + view.head_bias[o]);
  }
}
