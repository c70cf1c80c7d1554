// Vectors of int16 and int32 by the names of docs/ibert.md: of 32 bytes for AVX2 or, where IBERT_AVX512 is set, of
// 64 for AVX512BW with VNNI. Included once for each, inside a namespace of its own: so no include guard.

#if IBERT_AVX512
using V = __m512i;
inline V load(const void* p) { return _mm512_loadu_si512(p); }
inline void store(void* p, V a) { _mm512_storeu_si512(p, a); }
inline V zero() { return _mm512_setzero_si512(); }
inline V all16(int a) { return _mm512_set1_epi16(short(a)); }
inline V all32(int a) { return _mm512_set1_epi32(a); }
inline V mulhrs(V a, V b) { return _mm512_mulhrs_epi16(a, b); }
inline V mulhi_unsigned(V a, V b) { return _mm512_mulhi_epu16(a, b); }
inline V add16(V a, V b) { return _mm512_add_epi16(a, b); }
inline V sub16(V a, V b) { return _mm512_sub_epi16(a, b); }
inline V adds16(V a, V b) { return _mm512_adds_epi16(a, b); }
inline V subs16(V a, V b) { return _mm512_subs_epi16(a, b); }
inline V min16(V a, V b) { return _mm512_min_epi16(a, b); }
inline V max16(V a, V b) { return _mm512_max_epi16(a, b); }
inline V abs16(V a) { return _mm512_abs_epi16(a); }
inline V sra16(V a, int n) { return _mm512_sra_epi16(a, _mm_cvtsi32_si128(n)); }
inline V sll16(V a, int n) { return _mm512_sll_epi16(a, _mm_cvtsi32_si128(n)); }
inline V srl16(V a, int n) { return _mm512_srl_epi16(a, _mm_cvtsi32_si128(n)); }
inline V madd(V a, V b) { return _mm512_madd_epi16(a, b); }
inline V add32(V a, V b) { return _mm512_add_epi32(a, b); }
inline V sub32(V a, V b) { return _mm512_sub_epi32(a, b); }
inline V max32(V a, V b) { return _mm512_max_epi32(a, b); }
inline V sra32(V a, int n) { return _mm512_sra_epi32(a, _mm_cvtsi32_si128(n)); }
inline V sll32(V a, int n) { return _mm512_sll_epi32(a, _mm_cvtsi32_si128(n)); }
inline V srl32(V a, int n) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(n)); }
inline V and_(V a, V b) { return _mm512_and_si512(a, b); }
inline V or_(V a, V b) { return _mm512_or_si512(a, b); }
inline V add64(V a, V b) { return _mm512_add_epi64(a, b); }
inline V srl64(V a, int n) { return _mm512_srli_epi64(a, unsigned(n)); }
// sum + pairs of a times pairs of b
inline V dot(V sum, V a, V b) { return _mm512_dpwssd_epi32(sum, a, b); }
// Two vectors of int32 -> int16 in their order, cut.
inline V narrow(V a, V b) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtsepi32_epi16(a)), _mm512_cvtsepi32_epi16(b), 1);
}
// The same of non-negative numbers -> uint16.
inline V narrow_unsigned(V a, V b) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtusepi32_epi16(a)), _mm512_cvtusepi32_epi16(b), 1);
}
// 2^(11 - n); 0 where n > 11
inline V power_of_two(V n) { return _mm512_srlv_epi16(all16(2048), n); }
// Lanes of int16 that differ.
inline int64_t differing(V a, V b) { return __builtin_popcount(_mm512_cmpneq_epi16_mask(a, b)); }
// Int16 -> bytes 0..127 in their order.
inline void store_bytes(uint8_t* p, V a) {
  const V inside = min16(max16(a, zero()), all16(127));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi16_epi8(inside));
}
inline V widen_bytes(const int8_t* p) {  // into the upper halves of int16
  return _mm512_slli_epi16(_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 8);
}
#else
using V = __m256i;
inline V load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, V a) { _mm256_storeu_si256(static_cast<__m256i*>(p), a); }
inline V zero() { return _mm256_setzero_si256(); }
inline V all16(int a) { return _mm256_set1_epi16(short(a)); }
inline V all32(int a) { return _mm256_set1_epi32(a); }
inline V mulhrs(V a, V b) { return _mm256_mulhrs_epi16(a, b); }
inline V mulhi_unsigned(V a, V b) { return _mm256_mulhi_epu16(a, b); }
inline V add16(V a, V b) { return _mm256_add_epi16(a, b); }
inline V sub16(V a, V b) { return _mm256_sub_epi16(a, b); }
inline V adds16(V a, V b) { return _mm256_adds_epi16(a, b); }
inline V subs16(V a, V b) { return _mm256_subs_epi16(a, b); }
inline V min16(V a, V b) { return _mm256_min_epi16(a, b); }
inline V max16(V a, V b) { return _mm256_max_epi16(a, b); }
inline V abs16(V a) { return _mm256_abs_epi16(a); }
inline V sra16(V a, int n) { return _mm256_sra_epi16(a, _mm_cvtsi32_si128(n)); }
inline V sll16(V a, int n) { return _mm256_sll_epi16(a, _mm_cvtsi32_si128(n)); }
inline V srl16(V a, int n) { return _mm256_srl_epi16(a, _mm_cvtsi32_si128(n)); }
inline V madd(V a, V b) { return _mm256_madd_epi16(a, b); }
inline V add32(V a, V b) { return _mm256_add_epi32(a, b); }
inline V sub32(V a, V b) { return _mm256_sub_epi32(a, b); }
inline V max32(V a, V b) { return _mm256_max_epi32(a, b); }
inline V sra32(V a, int n) { return _mm256_sra_epi32(a, _mm_cvtsi32_si128(n)); }
inline V sll32(V a, int n) { return _mm256_sll_epi32(a, _mm_cvtsi32_si128(n)); }
inline V srl32(V a, int n) { return _mm256_srl_epi32(a, _mm_cvtsi32_si128(n)); }
inline V and_(V a, V b) { return _mm256_and_si256(a, b); }
inline V or_(V a, V b) { return _mm256_or_si256(a, b); }
inline V add64(V a, V b) { return _mm256_add_epi64(a, b); }
inline V srl64(V a, int n) { return _mm256_srli_epi64(a, n); }
inline V dot(V sum, V a, V b) { return add32(sum, madd(a, b)); }
inline V narrow(V a, V b) { return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8); }
inline V narrow_unsigned(V a, V b) {
  const V top = all32(65535);
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_min_epu32(a, top), _mm256_min_epu32(b, top)), 0xd8);
}
inline V power_of_two(V n) {
  // No shift by lane in 16 bits: the low and the high byte of each power from a table of bytes.
  const V low = _mm256_setr_epi8(0, 0, 0, 0, -128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0,  //
                                 0, 0, 0, 0, -128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0);
  const V high = _mm256_setr_epi8(8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  //
                                  8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  const V at = min16(n, all16(15));
  const V low_byte = _mm256_shuffle_epi8(low, or_(at, all16(-32768)));
  const V high_byte = _mm256_shuffle_epi8(high, or_(sll16(at, 8), all16(0x80)));
  return or_(low_byte, high_byte);
}
inline int64_t differing(V a, V b) {
  return 16 - __builtin_popcount(unsigned(_mm256_movemask_epi8(_mm256_cmpeq_epi16(a, b)))) / 2;
}
inline void store_bytes(uint8_t* p, V a) {
  const V inside = min16(max16(a, zero()), all16(127));
  const __m128i low = _mm256_castsi256_si128(inside), high = _mm256_extracti128_si256(inside, 1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(low, high));
}
inline V widen_bytes(const int8_t* p) {
  return _mm256_slli_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 8);
}
#endif

constexpr int64_t LANES16 = sizeof(V) / 2, LANES32 = sizeof(V) / 4;

// Across a vector, once for a row.
inline int64_t total32(V a) {
  alignas(64) int32_t lanes[LANES32];
  store(lanes, a);
  int64_t sum = 0;
  for (int32_t lane : lanes) sum += lane;
  return sum;
}

inline int64_t total64(V a) {
  alignas(64) int64_t lanes[LANES32 / 2];
  store(lanes, a);
  int64_t sum = 0;
  for (int64_t lane : lanes) sum += lane;
  return sum;
}

inline int32_t largest32(V a) {
  alignas(64) int32_t lanes[LANES32];
  store(lanes, a);
  int32_t top = lanes[0];
  for (int32_t lane : lanes) top = lane > top ? lane : top;
  return top;
}

inline int32_t extreme16(V a, bool largest) {
  alignas(64) int16_t lanes[LANES16];
  store(lanes, a);
  int32_t found = lanes[0];
  for (int16_t lane : lanes) found = (lane > found) == largest ? lane : found;
  return found;
}
