// Where a Linear's sums start, and what follows on them: docs/ibert.md, "Linear" and "GELU".

// What the weights' sum takes off for z and what rounding adds: where the sums start.
inline void start_sums(const Linear& linear, int64_t panel, const Row* rows, int64_t count, int32_t* sums) {
  const int32_t half = linear.shift > 0 ? 1 << (linear.shift - 1) : 0;
  const V rounding = all32(half);
  for (int64_t h = 0; h < PANEL; h += LANES32) {
    // W z as one product of pairs: (W >> 8) (z << 8) + (W & 255) z. |W| < 2^23, z < 128.
    const V sum = load(linear.sums + panel * PANEL + h);
    const V pairs = or_(sll32(sra32(sum, 8), 16), and_(sum, all32(255)));
    for (int64_t r = 0; r < count; r++) {
      const V less = all32(int32_t(uint32_t(-rows[r].z * 256) << 16 | (uint32_t(-rows[r].z) & 0xffff)));
      store(sums + PANEL * r + h, dot(rounding, pairs, less));
    }
  }
}

// Int16 of one row for AVX2, of two for AVX512.
constexpr int64_t TOGETHER = LANES16 / PANEL;

inline V of_panel(const int16_t* p) {
#if IBERT_AVX512
  return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#else
  return load(p);
#endif
}

// A number of each row, on all of its lanes.
inline V of_rows(int32_t first, int32_t second) {
#if IBERT_AVX512
  return _mm512_inserti64x4(all16(first), _mm256_set1_epi16(short(second)), 1);
#else
  (void)second;
  return all16(first);
#endif
}

inline V load_rows(const int16_t* first, const int16_t* second) {
#if IBERT_AVX512
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(first))),
                            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second)), 1);
#else
  (void)second;
  return load(first);
#endif
}

inline void store_rows(int16_t* first, int16_t* second, V a) {
#if IBERT_AVX512
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(first), _mm512_castsi512_si256(a));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(second), _mm512_extracti64x4_epi64(a, 1));
#else
  (void)second;
  store(first, a);
#endif
}

// Rounded y / 2^t, of rows whose t is negative: doubled and cut. t: of one row or two.
inline V scaled(V y, int32_t first, int32_t second, Cuts& cuts) {
  if (first == second && first >= 0) {
    const int32_t half = first > 0 ? 1 << (first - 1) : 0;
    return sra16(adds16(y, all16(half)), first);
  }
#if IBERT_AVX512
  const int32_t down[2] = {first > 0 ? first : 0, second > 0 ? second : 0};
  const V half = of_rows(down[0] ? 1 << (down[0] - 1) : 0, down[1] ? 1 << (down[1] - 1) : 0);
  y = _mm512_srav_epi16(adds16(y, half), of_rows(down[0], down[1]));
#endif
  cuts.count_doubled(y, first, second);
  for (; first < 0 || second < 0; first++, second++)
    y = adds16(y, and_(y, of_rows(first < 0 ? -1 : 0, second < 0 ? -1 : 0)));
  return y;
}

inline V gelu(V y, int32_t bits) {
  const V end = all16(1 << bits), size = min16(abs16(y), end), d = sll16(sub16(end, size), 15 - bits);
  V c = mulhrs(d, all16(22980));
  c = mulhrs(d, sub16(c, all16(6714)));
  c = mulhrs(d, add16(c, all16(1104)));
  return sub16(max16(y, zero()), mulhrs(size, c));
}

// Sums of `count` rows times one panel -> int16 y (rows, stride), of which `y` is the panel's first column. With a
// residual, what stands there is added.
template <Then THEN>
void finish(const Linear& linear, int64_t panel, const int32_t* sums, const Row* rows, int64_t count, int32_t gelu_bits,
            int16_t* y, int64_t stride, Cuts& cuts) {
  const V multiplier = of_panel(linear.multiplier + panel * PANEL), bias = of_panel(linear.bias + panel * PANEL);
  const V limit = of_panel(linear.limit + panel * PANEL), least = sub16(zero(), limit);
  const int32_t down = linear.shift > 0 ? linear.shift : 0, raise = linear.shift < 0 ? -linear.shift : 0;
  for (int64_t r = 0; r < count; r += TOGETHER) {
    const int64_t s = r + TOGETHER <= count ? r + TOGETHER - 1 : r;  // the second row, or once more the first
    V first = sra32(sll32(load(sums + PANEL * r), raise), down);
    V second = sra32(sll32(load(sums + (TOGETHER == 1 ? PANEL * r + LANES32 : PANEL * s)), raise), down);
    const V a = narrow(first, second);
    cuts.count_narrowed(first, second);
    const V shrunk = mulhrs(mulhrs(a, multiplier), of_rows(rows[r].inverse, rows[s].inverse));
    V out = scaled(shrunk, rows[r].bits - linear.gain, rows[s].bits - linear.gain, cuts);
    const V inside = max16(min16(adds16(out, bias), limit), least);
    cuts.count(inside, add16(out, bias));
    out = inside;
    int16_t *to = y + r * stride, *next = y + s * stride;
    if constexpr (THEN == Then::residual) {
      const V before = load_rows(to, next), sum = adds16(out, before);
      cuts.count(sum, add16(out, before));
      out = sum;
    }
    if constexpr (THEN == Then::gelu) out = gelu(out, gelu_bits);
    if constexpr (THEN == Then::relu) out = max16(out, zero());
    store_rows(to, next, out);
  }
}
