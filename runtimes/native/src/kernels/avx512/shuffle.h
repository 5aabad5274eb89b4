// Bytes in another order.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace rrwkv::avx512 {

// Four rows of 64 bytes, a column's four beside each other, as VNNI and the matrix unit multiply them. It works within
// 128 bits: the j-th holds columns 4 j .. 4 j + 3 of each of the four sixteens.
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

// 16 rows of 16 groups become 16 groups of 16 rows: w[j] holds in lane i the j-th four bytes of row i.
inline void transpose(__m512i w[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(w[i], w[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(w[i], w[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    w[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    w[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    w[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    w[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(w[i], w[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(w[i], w[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(w[i + 8], w[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(w[i + 8], w[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    w[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    w[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    w[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    w[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

constexpr size_t kUnit = 64;  // bytes of a row that are turned at once: 16 groups of four

// Of 16 rows from the first on (where there are fewer, the last one again) the bytes `from` .. `from` + 64, and no more
// than there are, as groups.
inline void load_turned(const uint8_t* rows, size_t row_bytes, size_t count, size_t first, size_t from,
                        __m512i groups[16]) {
  const size_t left = row_bytes - from;
  const __mmask64 mask = left >= kUnit ? ~0ull : (1ull << left) - 1;
  for (size_t i = 0; i < 16; ++i)
    groups[i] = _mm512_maskz_loadu_epi8(mask, rows + std::min(first + i, count - 1) * row_bytes + from);
  transpose(groups);
}

}  // namespace rrwkv::avx512
