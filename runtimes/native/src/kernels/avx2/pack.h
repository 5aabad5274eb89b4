// int8 weights in the order of products by AVX2.
#pragma once

#include "kernels/avx2/tiles.h"

namespace rrwkv::avx2::RRWKV_DOTS {

// A line of a row, or of what there is of it, with zeros to the end.
struct Lines {
  const int8_t* weight;
  size_t stride, K, columns;

  const int8_t* at(size_t k, size_t n, int8_t (&copy)[kPacked]) const {
    if (k < K && n + kPacked <= columns) return weight + k * stride + n;
    std::fill_n(copy, kPacked, int8_t{0});
    if (k < K && n < columns) std::memcpy(copy, weight + k * stride + n, columns - n);
    return copy;
  }
};

// Sixteen columns of so many rows as they are multiplied: bytes by fours, or numbers of 16 bits by twos; and, in 16
// bits, what to add to the columns' sums.
#if defined(__AVXVNNI__)
constexpr size_t kRowsTogether = 4;
inline void put_together(const int8_t* const rows[], __m256i packed[2], __m256i more[2]) {
  const __m128i a = load128(rows[0]), b = load128(rows[1]), c = load128(rows[2]), d = load128(rows[3]);
  const __m128i ab_low = _mm_unpacklo_epi8(a, b), ab_high = _mm_unpackhi_epi8(a, b);
  const __m128i cd_low = _mm_unpacklo_epi8(c, d), cd_high = _mm_unpackhi_epi8(c, d);
  packed[0] = _mm256_set_m128i(_mm_unpackhi_epi16(ab_low, cd_low), _mm_unpacklo_epi16(ab_low, cd_low));
  packed[1] = _mm256_set_m128i(_mm_unpackhi_epi16(ab_high, cd_high), _mm_unpacklo_epi16(ab_high, cd_high));
  for (size_t half = 0; half < 2; ++half) more[half] = _mm256_maddubs_epi16(_mm256_set1_epi8(1), packed[half]);
}
#else
constexpr size_t kRowsTogether = 2;
inline void put_together(const int8_t* const rows[], __m256i packed[2], __m256i more[2]) {
  const __m256i a = _mm256_cvtepi8_epi16(load128(rows[0])), b = _mm256_cvtepi8_epi16(load128(rows[1]));
  const __m256i low = _mm256_unpacklo_epi16(a, b), high = _mm256_unpackhi_epi16(a, b);
  more[0] = packed[0] = _mm256_permute2x128_si256(low, high, 0x20);
  more[1] = packed[1] = _mm256_permute2x128_si256(low, high, 0x31);
}
#endif

// Some rows of 64 columns: of so few that their sums are held in 16 bits.
inline void pack_lines(const Lines& from, Span rows, size_t n, size_t depth, uint8_t* packed, int32_t* sums) {
  constexpr size_t kAhead = 16;  // rows
  __m256i held[2 * kPacked / kSide];
  for (__m256i& sum : held) sum = _mm256_setzero_si256();
  for (size_t k = rows.begin; k < rows.end; k += kRowsTogether) {
    int8_t copies[kRowsTogether][kPacked];
    const int8_t* line[kRowsTogether];
    for (size_t i = 0; i < kRowsTogether; ++i) {
      line[i] = from.at(k + i, n, copies[i]);
      lanes::fetch(line[i] + kAhead * from.stride);
    }
    for (size_t column = 0; column < kPacked; column += kSide) {
      __m256i two[2], more[2];
      put_together(line, two, more);
      uint8_t* to = packed + ((n + column) * depth + kSide * k) * kValueBytes;
      for (size_t half = 0; half < 2; ++half) {
        store256(to + 32 * half, two[half]);
        __m256i& sum = held[column / 8 + half];
        sum = _mm256_add_epi16(sum, more[half]);
      }
      for (const int8_t*& at : line) at += kSide;
    }
  }
  for (size_t column = 0; column < kPacked; column += 8) {
    int32_t* to = sums + n + column;
    store256(to, _mm256_add_epi32(load256(to), paired(held[column / 8])));
  }
}

// [columns / 16, depth / 4, 16, 4], or as numbers of 16 bits [columns / 16, depth / 2, 16, 2].
inline void pack(const int8_t* weight, size_t stride, size_t K, Span rows, size_t columns, uint8_t* packed,
                 int32_t* sums) {
  constexpr size_t kHeld = 64;  // times 4 of 8 bits: rows
  const size_t depth = padded(K, kDepth), all = padded(columns, kPacked);
  const Lines from{weight, stride, K, columns};
  std::fill_n(sums, all, 0);
  for (size_t n = 0; n < all; n += kPacked)
    for (size_t k = rows.begin; k < rows.end; k += kHeld)
      pack_lines(from, {k, std::min(k + kHeld, rows.end)}, n, depth, packed, sums);
}

}  // namespace rrwkv::avx2::RRWKV_DOTS
