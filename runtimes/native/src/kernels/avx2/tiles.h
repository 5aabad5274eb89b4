// Whole numbers of many rows by AVX2: bytes by VNNI; without it bytes times 4 bits, and else numbers of 16 bits by
// twos.
#pragma once

#include "kernels/avx2/products.h"

namespace rrwkv::avx2::RRWKV_DOTS {

constexpr size_t kAtOnce = 4;  // rows whose sums stay in registers, of sixteen columns

#if defined(__AVXVNNI__)
constexpr size_t kValueBytes = 1;
#else
constexpr size_t kValueBytes = 2;
#endif

// So many rows, from the i-th on; the last ones are fewer. some(std::integral_constant of how many, i)
template <size_t kCount = kAtOnce, typename Action>
void by_rows(size_t i, size_t rows, const Action& some) {
  for (; i + kCount <= rows; i += kCount) some(std::integral_constant<size_t, kCount>(), i);
  if constexpr (kCount > 1)
    if (i < rows) by_rows<kCount / 2>(i, rows, some);
}

// Has the compiler go on with the vector in a register: it would else begin many products at once, and hold sums in
// memory meanwhile.
inline void hold(__m256i& vector) { __asm__ volatile("" : "+x"(vector)); }

// What sixteen columns of weights add to a row's sums: four bytes, or two numbers of 16 bits, of each column.
inline __m256i added(__m256i sum, __m256i x, __m256i w) {
#if defined(__AVXVNNI__)
  return _mm256_dpbusd_avx_epi32(sum, x, w);
#else
  return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
#endif
}

// sums, `apart` values from each other, of some rows x, so many bytes apart, times weights [bytes / 4, 16 columns, 4].
// kBytes: of a row, which are multiplied without a loop; a divisor of `bytes`.
template <size_t kCount, bool kSigned, size_t kBytes>
void multiply_some(const uint8_t* x, size_t stride, const uint8_t* weights, size_t bytes, bool first, int32_t* sums,
                   size_t apart) {
  __m256i s[kCount][2];
  for (size_t i = 0; i < kCount; ++i)
    for (size_t half = 0; half < 2; ++half)
      s[i][half] = first ? _mm256_setzero_si256() : load256(sums + i * apart + 8 * half);
  for (size_t begin = 0; begin < bytes; begin += kBytes) {
#pragma GCC unroll 16
    for (size_t k = begin; k < begin + kBytes; k += 4) {
      __m256i weight[2] = {load256(weights + kSide * k), load256(weights + kSide * k + 32)};
      hold(weight[0]);
      hold(weight[1]);
#pragma GCC unroll 8
      for (size_t i = 0; i < kCount; ++i) {
        const __m256i four = four_bytes(x + i * stride + k);
        for (size_t half = 0; half < 2; ++half) {
          __m256i& sum = s[i][half];
          sum = kSigned ? added(sum, weight[half], four) : added(sum, four, weight[half]);
          hold(sum);
        }
      }
    }
  }
  for (size_t i = 0; i < kCount; ++i)
    for (size_t half = 0; half < 2; ++half) store256(sums + i * apart + 8 * half, s[i][half]);
}

inline void multiply(const Piece& p, int32_t* sums) {
  const size_t stride = p.depth * kValueBytes, from = p.from * kValueBytes, bytes = (p.to - p.from) * kValueBytes;
  for (size_t n = 0; n < kPanel; n += kSide)
    by_rows(0, p.rows, [&](auto count, size_t i) {
      multiply_some<count, false, 32>(p.x + i * stride + from, stride, p.packed + n * stride + kSide * from, bytes,
                                      p.from == 0, sums + i * kPanel + n, kPanel);
    });
}

// A block of sixteen rows and columns, of values as `unpack` and `quantize_row` write them.
template <size_t kBytes = 64>
void dot_block(const uint8_t* x, size_t stride, const uint8_t* weights, size_t bytes, int32_t* dots) {
  if constexpr (kBytes > 16)
    if (bytes % kBytes != 0) return dot_block<kBytes / 2>(x, stride, weights, bytes, dots);
  by_rows(0, kSide, [&](auto count, size_t i) {
    multiply_some<count, true, kBytes>(x + i * stride, stride, weights, bytes, true, dots + i * kSide, kSide);
  });
}

#if !defined(__AVXVNNI__)
// The same of 4-bit weights in bytes: sums of 32 products of them are held in 16 bits.
template <size_t kCount>
void dot_some4(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, bool first, int32_t* dots) {
  __m256i s[kCount][2];
  for (auto& row : s) row[0] = row[1] = _mm256_setzero_si256();
  for (size_t k = 0; k < depth; k += 4) {
    const __m256i left = load256(weights + kSide * k), right = load256(weights + kSide * k + 32);
    for (size_t i = 0; i < kCount; ++i) {
      const __m256i four = four_bytes(x + i * stride + k);
      s[i][0] = _mm256_add_epi16(s[i][0], _mm256_maddubs_epi16(left, four));
      s[i][1] = _mm256_add_epi16(s[i][1], _mm256_maddubs_epi16(right, four));
    }
  }
  for (size_t i = 0; i < kCount; ++i)
    for (size_t half = 0; half < 2; ++half) {
      int32_t* to = dots + i * kSide + 8 * half;
      store256(to, first ? paired(s[i][half]) : _mm256_add_epi32(load256(to), paired(s[i][half])));
    }
}

inline void dot_block4(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, int32_t* dots) {
  constexpr size_t kHeld = 32;
  for (size_t k = 0; k < depth; k += kHeld)
    by_rows(0, kSide, [&](auto count, size_t i) {
      dot_some4<count>(x + i * stride + k, stride, weights + kSide * k, std::min(kHeld, depth - k), k == 0,
                       dots + i * kSide);
    });
}
#endif

}  // namespace rrwkv::avx2::RRWKV_DOTS
