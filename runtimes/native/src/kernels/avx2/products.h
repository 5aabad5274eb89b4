// Products of whole numbers by AVX2.
//
// Without VNNI bytes times bytes are summed by twos in 16 bits, which may hold too little: so activations of 8 bits are
// multiplied as their upper seven and their lowest one, and many rows as numbers of 16 bits.
#pragma once

#include <algorithm>

#include "kernels/avx2/vectors.h"
#include "kernels/kernels.h"

namespace rrwkv::avx2::RRWKV_DOTS {

// Of each four bytes the same.
inline __m256i four_bytes(const uint8_t* x) {
  int32_t four;
  std::memcpy(&four, x, sizeof four);
  return _mm256_set1_epi32(four);
}

inline __m256i ones() { return _mm256_set1_epi16(1); }
// Sums of two and two numbers of 16 bits.
inline __m256i paired(__m256i words) { return _mm256_madd_epi16(words, ones()); }

// Four rows of 32 bytes, a column's four beside each other. It works within 128 bits: the j-th holds columns 4 j .. 4 j
// + 3 of both sixteens.
inline void interleave(const __m256i rows[4], __m256i four[4]) {
  const __m256i ab_low = _mm256_unpacklo_epi8(rows[0], rows[1]), ab_high = _mm256_unpackhi_epi8(rows[0], rows[1]);
  const __m256i cd_low = _mm256_unpacklo_epi8(rows[2], rows[3]), cd_high = _mm256_unpackhi_epi8(rows[2], rows[3]);
  four[0] = _mm256_unpacklo_epi16(ab_low, cd_low);
  four[1] = _mm256_unpackhi_epi16(ab_low, cd_low);
  four[2] = _mm256_unpacklo_epi16(ab_high, cd_high);
  four[3] = _mm256_unpackhi_epi16(ab_high, cd_high);
}

// Puts them in order, or sums that were made of them.
inline void in_order(__m256i s[4]) {
  const __m256i a = _mm256_permute2x128_si256(s[0], s[1], 0x20), b = _mm256_permute2x128_si256(s[2], s[3], 0x20);
  const __m256i c = _mm256_permute2x128_si256(s[0], s[1], 0x31), d = _mm256_permute2x128_si256(s[2], s[3], 0x31);
  s[0] = a;
  s[1] = b;
  s[2] = c;
  s[3] = d;
}

// See `lanes::accumulate`.
struct Fours {
  static constexpr size_t kColumns = 32;

  struct Factors {
#if defined(__AVXVNNI__)
    explicit Factors(const uint8_t bytes[4]) : x(four_bytes(bytes)) {}
    __m256i add(__m256i sum, __m256i w) const { return _mm256_dpbusd_avx_epi32(sum, x, w); }
    __m256i x;
#else
    explicit Factors(const uint8_t bytes[4])
        : upper(_mm256_and_si256(_mm256_srli_epi16(four_bytes(bytes), 1), _mm256_set1_epi8(0x7f))),
          lowest(_mm256_and_si256(four_bytes(bytes), _mm256_set1_epi8(1))) {}
    __m256i add(__m256i sum, __m256i w) const {
      const __m256i doubled = _mm256_madd_epi16(_mm256_maddubs_epi16(upper, w), _mm256_set1_epi16(2));
      return _mm256_add_epi32(_mm256_add_epi32(sum, doubled), paired(_mm256_maddubs_epi16(lowest, w)));
    }
    __m256i upper, lowest;
#endif
  };

  static void add(const int8_t* row, size_t apart, const Factors& factors, int32_t* sums) {
    const __m256i rows[4] = {load256(row), load256(row + apart), load256(row + 2 * apart), load256(row + 3 * apart)};
    __m256i four[4];
    interleave(rows, four);
    for (size_t i = 0; i < 4; ++i) store256(sums + 8 * i, factors.add(load256(sums + 8 * i), four[i]));
  }
  static void put_in_order(int32_t* sums) {
    __m256i s[4] = {load256(sums), load256(sums + 8), load256(sums + 16), load256(sums + 24)};
    in_order(s);
    for (size_t i = 0; i < 4; ++i) store256(sums + 8 * i, s[i]);
  }
  static int32_t value(uint8_t x) { return x; }
};

// uint8 times int8, four and four.
inline __m256i dot(__m256i w, __m256i x) {
#if defined(__AVXVNNI__)
  return _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), w, x);
#else
  const __m256i rest = _mm256_maddubs_epi16(_mm256_and_si256(w, _mm256_set1_epi8(0x7f)), x);
  const __m256i with_top = _mm256_and_si256(_mm256_cmpgt_epi8(_mm256_setzero_si256(), w), x);
  const __m256i top = _mm256_maddubs_epi16(_mm256_set1_epi8(static_cast<char>(128)), with_top);
  return _mm256_add_epi32(paired(rest), paired(top));
#endif
}

// The same of 4-bit weights, whose products are small.
inline __m256i dot(__m256i w, __m256i even, __m256i odd) {
  const __m256i mask = _mm256_set1_epi8(15);
  const __m256i low = _mm256_and_si256(w, mask), high = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
#if defined(__AVXVNNI__)
  return _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), low, even), high, odd);
#else
  return paired(_mm256_add_epi16(_mm256_maddubs_epi16(low, even), _mm256_maddubs_epi16(high, odd)));
#endif
}

// See `lanes::Blockwise`.
struct BlockLanes {
  static constexpr size_t kRowsAtOnce = 4;

  static Ints dot8(const uint8_t* w, const uint8_t* x) {
    return {dot(load256(w), load256(x)), dot(load256(w + 32), load256(x + 32))};
  }
  static Ints dot4(const uint8_t* w, const uint8_t* even, const uint8_t* odd) {
    return {dot(load256(w), load256(even), load256(odd)), dot(load256(w + 32), load256(even + 32), load256(odd + 32))};
  }
  // Each of `held` scales in as many lanes.
  template <size_t kInBlock>
  static Floats spread(const float* scale, size_t held) {
    if constexpr (kInBlock == 16) return Floats::all(*scale);
    if constexpr (kInBlock == 8) return {_mm256_set1_ps(scale[0]), _mm256_set1_ps(held > 1 ? scale[1] : 0)};
    const __m256 some = held < kLanes / kInBlock ? _mm256_maskload_ps(scale, mask_of(held)) : eight<kInBlock>(scale);
    const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    const __m256i low = kInBlock == 4 ? _mm256_srli_epi32(lane, 2) : _mm256_srli_epi32(lane, 1);
    const __m256i high = _mm256_add_epi32(low, _mm256_set1_epi32(8 / kInBlock));
    return {_mm256_permutevar8x32_ps(some, low), _mm256_permutevar8x32_ps(some, high)};
  }

 private:
  // As many scales as sixteen lanes are of.
  template <size_t kInBlock>
  static __m256 eight(const float* scale) {
    return kInBlock == 4 ? _mm256_castps128_ps256(_mm_loadu_ps(scale)) : _mm256_loadu_ps(scale);
  }
};

inline void begin(size_t) {}
inline void end() {}

}  // namespace rrwkv::avx2::RRWKV_DOTS
