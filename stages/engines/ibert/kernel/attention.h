// Attention of one head of one text: docs/ibert.md, "Attention". Keys lie in pairs of columns, values in pairs of
// rows, so that one multiplication of int16 pairs adds up both products.

inline int64_t scratch_bytes(int64_t length, int64_t size) {
  const int64_t wide = round_up(length, LANES16), full = round_up(size, LANES16), half = (size + 1) / 2;
  return 4 * (half * wide + round_up(length, 2) / 2 * full + 4 * half + 4 * wide + 4 * wide / 2 + 4 * full);
}

// c (R x LANES32 C) = a (R x depth pairs) b (depth pairs x LANES32 C)
template <int R, int C>
inline void pair_tile(const int32_t* a, int64_t a_stride, const int32_t* b, int64_t b_stride, int64_t depth, int32_t* c,
                      int64_t c_stride) {
  V sum[R][C];
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int j = 0; j < C; j++) sum[r][j] = zero();
  for (int64_t d = 0; d < depth; d++, b += b_stride) {
    V row[C];
#pragma GCC unroll 4
    for (int j = 0; j < C; j++) row[j] = load(b + LANES32 * j);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      const V x = all32(a[r * a_stride + d]);
#pragma GCC unroll 4
      for (int j = 0; j < C; j++) sum[r][j] = dot(sum[r][j], x, row[j]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int j = 0; j < C; j++) store(c + r * c_stride + LANES32 * j, sum[r][j]);
}

template <int R>
inline void pair_product(const int32_t* a, int64_t a_stride, const int32_t* b, int64_t b_stride, int64_t depth,
                         int64_t columns, int32_t* c, int64_t c_stride) {
  // `columns` are whole pairs of vectors.
  int64_t j = 0;
  if (IBERT_AVX512)  // which has the registers
    for (; j + LANES32 * 4 <= columns; j += LANES32 * 4)
      pair_tile<R, 4>(a, a_stride, b + j, b_stride, depth, c + j, c_stride);
  for (; j < columns; j += LANES32 * 2) pair_tile<R, 2>(a, a_stride, b + j, b_stride, depth, c + j, c_stride);
}

inline void pair_rows(int64_t rows, const int32_t* a, int64_t a_stride, const int32_t* b, int64_t b_stride,
                      int64_t depth, int64_t columns, int32_t* c, int64_t c_stride) {
  if (rows == 4) return pair_product<4>(a, a_stride, b, b_stride, depth, columns, c, c_stride);
  if (rows == 3) return pair_product<3>(a, a_stride, b, b_stride, depth, columns, c, c_stride);
  if (rows == 2) return pair_product<2>(a, a_stride, b, b_stride, depth, columns, c, c_stride);
  return pair_product<1>(a, a_stride, b, b_stride, depth, columns, c, c_stride);
}

// Scores of `length` keys -> e in place of int16 pairs, 0 behind the end; returns their sum.
inline int64_t weights_of(int32_t* scores, int64_t length, int64_t wide, int32_t shift, int32_t factor, int32_t* e) {
  for (int64_t j = length; j < wide; j++) scores[j] = scores[length - 1];
  V top = load(scores);
  for (int64_t j = LANES32; j < wide; j += LANES32) top = max32(top, load(scores + j));
  const V largest = all32(largest32(top)), per = all16(factor);
  auto* out = reinterpret_cast<int16_t*>(e);
  for (int64_t j = 0; j < wide; j += LANES16) {
    const V low = srl32(sub32(largest, load(scores + j)), shift);
    const V high = srl32(sub32(largest, load(scores + j + LANES32)), shift);
    const V power = mulhi_unsigned(narrow_unsigned(low, high), per);
    const V f = sll16(and_(power, all16(2047)), 4);
    const V p = add16(all16(32767), mulhrs(f, sub16(mulhrs(f, all16(5687)), all16(22034))));
    store(out + j, mulhrs(p, power_of_two(srl16(power, 11))));
  }
  memset(out + length, 0, size_t(wide - length) * 2);
  V sum = zero();
  const V ones = all16(1);
  for (int64_t j = 0; j < wide; j += LANES16) sum = dot(sum, load(out + j), ones);
  return total32(sum);
}

// One head of one text's queries, keys or values: `count` rows of int16.
struct Head {
  const int16_t* first;
  int64_t stride, count;
};

// Rows of int16 as pairs of columns, int32 (half, wide): transposed.
inline void transpose_pairs(Head keys, int64_t size, int64_t wide, int32_t* to) {
  const int64_t half = (size + 1) / 2, whole = size / 2;
  int64_t j = 0;
  for (; j + 8 <= keys.count; j += 8) {
    int64_t d = 0;
    for (; d + 8 <= whole; d += 8) {
      __m256i r[8], t[8];
      for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys.first + (j + i) * keys.stride + 2 * d));
      for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
      }
      for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
      }
      for (int i = 0; i < 4; i++) {
        const __m256i low = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
        const __m256i high = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + (d + i) * wide + j), low);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + (d + i + 4) * wide + j), high);
      }
    }
    for (; d < whole; d++)
      for (int i = 0; i < 8; i++) memcpy(to + d * wide + j + i, keys.first + (j + i) * keys.stride + 2 * d, 4);
  }
  for (; j < keys.count; j++)
    for (int64_t d = 0; d < whole; d++) memcpy(to + d * wide + j, keys.first + j * keys.stride + 2 * d, 4);
  if (half > whole)
    for (j = 0; j < keys.count; j++) to[whole * wide + j] = uint16_t(keys.first[j * keys.stride + size - 1]);
  for (int64_t d = 0; d < half; d++)
    memset(to + d * wide + keys.count, 0, size_t(wide - keys.count) * 4);
}

// Rows of int16 as pairs of rows, int32 (pairs, full), 0 behind the ends.
inline void pair_up(Head values, int64_t size, int64_t full, int32_t* to) {
  const int16_t nothing[128] = {};
  for (int64_t j = 0; j < values.count; j += 2, to += full) {
    const int16_t* first = values.first + j * values.stride;
    const int16_t* second = j + 1 < values.count ? first + values.stride : nothing;
    int64_t d = 0;
    for (; d + 16 <= size; d += 16) {
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first + d));
      const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second + d));
      const __m256i low = _mm256_unpacklo_epi16(a, b), high = _mm256_unpackhi_epi16(a, b);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + d), _mm256_permute2x128_si256(low, high, 0x20));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + d + 8), _mm256_permute2x128_si256(low, high, 0x31));
    }
    for (; d < size; d++) to[d] = int32_t(uint32_t(uint16_t(second[d])) << 16 | uint16_t(first[d]));
    for (; d < full; d++) to[d] = 0;
  }
}

// out: (queries, size) with a stride. scratch: `scratch_bytes` of it.
inline void attend(const View&, const Layer& layer, int64_t, Head query, Head key, Head value, int64_t size, int16_t* out,
                   int64_t out_stride, void* memory) {
  const int32_t shift = layer.score_shift, factor = layer.score_factor;
  auto* scratch = static_cast<int32_t*>(memory);
  const int64_t length = key.count, wide = round_up(length, LANES16), full = round_up(size, LANES16), half = (size + 1) / 2;
  int32_t *keys = scratch, *values = keys + half * wide, *asked = values + round_up(length, 2) / 2 * full;
  int32_t *scores = asked + 4 * half, *e = scores + 4 * wide, *sums = e + 4 * wide / 2;
  transpose_pairs(key, size, wide, keys);
  pair_up(value, size, full, values);
  for (int64_t i = 0; i < query.count; i += 4) {
    const int64_t rows = query.count - i < 4 ? query.count - i : 4;
    for (int64_t r = 0; r < rows; r++) {
      if (size % 2) asked[r * half + half - 1] = 0;
      memcpy(asked + r * half, query.first + (i + r) * query.stride, size_t(size) * 2);
    }
    pair_rows(rows, asked, half, keys, wide, half, wide, scores, wide);
    int64_t totals[4];
    for (int64_t r = 0; r < rows; r++)
      totals[r] = weights_of(scores + r * wide, length, wide, shift, factor, e + r * wide / 2);
    pair_rows(rows, e, wide / 2, values, full, round_up(length, 2) / 2, full, sums, full);
    for (int64_t r = 0; r < rows; r++) {
      const int32_t bits = bits_of(uint64_t(totals[r])) - 4;
      const int32_t inverse = int32_t((int64_t(1) << (18 + bits)) / totals[r]);
      const V by = all16(inverse > 32767 ? 32767 : inverse), rounding = all32(1 << (bits - 1));
      for (int64_t d = 0; d < size; d += LANES16) {
        const int32_t* from = sums + r * full + d;
        const V first = sra32(add32(load(from), rounding), bits);
        const V second = sra32(add32(load(from + LANES32), rounding), bits);
        store_some(out + (i + r) * out_stride + d, mulhrs(narrow(first, second), by), size - d);
      }
    }
  }
}
