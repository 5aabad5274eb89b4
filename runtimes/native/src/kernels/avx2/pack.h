// int8 weights in the order of products by AVX2.
#pragma once

#include "kernels/avx2/products.h"

namespace rrwkv::avx2::RRWKV_DOTS {

// Sixteen or 32 bytes of a row; zeros where there is none.
template <size_t kBytes>
struct Columns {
  const int8_t* weight;
  size_t stride, K, columns;

  const int8_t* at(size_t k, size_t n, int8_t (&copy)[kBytes]) const {
    if (k < K && n + kBytes <= columns) return weight + k * stride + n;
    std::fill_n(copy, kBytes, int8_t{0});
    if (k < K && n < columns) std::memcpy(copy, weight + k * stride + n, columns - n);
    return copy;
  }
};

constexpr size_t kDeep = 16;  // rows at a time: they are written to stretches of memory of several lines

inline void add_to(int32_t* sums, __m256i more) { store256(sums, _mm256_add_epi32(load256(sums), more)); }

#if defined(__AVXVNNI__)
// [columns / 16, depth / 4, 16, 4]
inline void pack(const int8_t* weight, size_t stride, size_t K, Span rows, size_t columns, uint8_t* packed,
                 int32_t* sums) {
  constexpr size_t kWide = 32;
  const size_t depth = padded(K, kDepth), all = padded(columns, kPacked);
  const Columns<kWide> from{weight, stride, K, columns};
  std::fill_n(sums, all, 0);
  for (size_t first = rows.begin; first < rows.end; first += kDeep)
    for (size_t n = 0; n < all; n += kWide)
      for (size_t k = first; k < std::min(first + kDeep, rows.end); k += 4) {
        int8_t copies[4][kWide];
        __m256i row[4], four[4];
        for (size_t i = 0; i < 4; ++i) row[i] = load256(from.at(k + i, n, copies[i]));
        interleave(row, four);
        in_order(four);
        for (size_t i = 0; i < 4; ++i) {
          const size_t column = n + 8 * i;
          store256(packed + column / kSide * kSide * depth + kSide * k + column % kSide * 4, four[i]);
          add_to(sums + column, paired(_mm256_maddubs_epi16(_mm256_set1_epi8(1), four[i])));
        }
      }
}
#else
// As numbers of 16 bits, [columns / 16, depth / 2, 16, 2].
inline void pack(const int8_t* weight, size_t stride, size_t K, Span rows, size_t columns, uint8_t* packed,
                 int32_t* sums) {
  const size_t depth = padded(K, kDepth), all = padded(columns, kPacked);
  const Columns<kSide> from{weight, stride, K, columns};
  std::fill_n(sums, all, 0);
  for (size_t first = rows.begin; first < rows.end; first += kDeep)
    for (size_t n = 0; n < all; n += kSide)
      for (size_t k = first; k < std::min(first + kDeep, rows.end); k += 2) {
        int8_t copies[2][kSide];
        const __m256i a = _mm256_cvtepi8_epi16(load128(from.at(k, n, copies[0])));
        const __m256i b = _mm256_cvtepi8_epi16(load128(from.at(k + 1, n, copies[1])));
        const __m256i low = _mm256_unpacklo_epi16(a, b), high = _mm256_unpackhi_epi16(a, b);
        const __m256i left = _mm256_permute2x128_si256(low, high, 0x20);
        const __m256i right = _mm256_permute2x128_si256(low, high, 0x31);
        uint8_t* to = packed + (n * depth + kSide * k) * sizeof(int16_t);
        store256(to, left);
        store256(to + 32, right);
        add_to(sums + n, paired(left));
        add_to(sums + n + 8, paired(right));
      }
}
#endif

}  // namespace rrwkv::avx2::RRWKV_DOTS
