// Four rows of bytes, a column's four beside each other, as VNNI and the matrix unit multiply them.
#pragma once

#include <immintrin.h>

namespace rrwkv {

// Of 64 columns. It works within 128 bits: the j-th holds columns 4 j .. 4 j + 3 of each of the four sixteens.
inline void interleave(const __m512i rows[4], __m512i four[4]) {
  const __m512i ab_low = _mm512_unpacklo_epi8(rows[0], rows[1]), ab_high = _mm512_unpackhi_epi8(rows[0], rows[1]);
  const __m512i cd_low = _mm512_unpacklo_epi8(rows[2], rows[3]), cd_high = _mm512_unpackhi_epi8(rows[2], rows[3]);
  four[0] = _mm512_unpacklo_epi16(ab_low, cd_low);
  four[1] = _mm512_unpackhi_epi16(ab_low, cd_low);
  four[2] = _mm512_unpacklo_epi16(ab_high, cd_high);
  four[3] = _mm512_unpackhi_epi16(ab_high, cd_high);
}

// Puts them in order, or sums that were made of them: a transpose of 4 x 4 quarters. It is its own inverse.
inline void in_order(__m512i s[4]) {
  const __m512i a = _mm512_shuffle_i32x4(s[0], s[1], 0x44), b = _mm512_shuffle_i32x4(s[0], s[1], 0xee);
  const __m512i c = _mm512_shuffle_i32x4(s[2], s[3], 0x44), d = _mm512_shuffle_i32x4(s[2], s[3], 0xee);
  s[0] = _mm512_shuffle_i32x4(a, c, 0x88);
  s[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
  s[2] = _mm512_shuffle_i32x4(b, d, 0x88);
  s[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

}  // namespace rrwkv
