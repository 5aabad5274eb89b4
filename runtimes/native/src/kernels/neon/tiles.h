// Whole numbers of many rows: four rows times sixteen columns, by dot products of four bytes or, with i8mm, by products
// of two rows and two columns of eight.
#pragma once

#include "kernels/neon/products.h"

namespace rrwkv::neon::RRWKV_DOTS {

constexpr size_t kAtOnce = 4;  // rows

#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr size_t kGroup = 8;  // rows of weights that lie beside each other
#else
constexpr size_t kGroup = 4;
#endif

// What is added to the dots of a row because its weights are unsigned: nothing where the processor multiplies such.
template <bool kUnsigned>
int32_t of_zeros(const uint8_t* x, size_t depth) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  return static_cast<void>(x), static_cast<void>(depth), 0;
#else
  if constexpr (!kUnsigned) return 0;
  int32x4_t sum = vdupq_n_s32(0);
  for (size_t k = 0; k < depth; k += 16) sum = vdotq_s32(sum, signed_bytes(x + k), vdupq_n_s8(64));
  return 2 * vaddvq_s32(sum);
#endif
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
template <bool kUnsigned>
int32x4_t added(int32x4_t sum, int8x16_t x, int8x16_t w) {
  if constexpr (!kUnsigned) return vmmlaq_s32(sum, x, w);
  // Two columns by two rows: turned, for the unsigned ones are the first.
  const int32x4_t turned = vusmmlaq_s32(vdupq_n_s32(0), vreinterpretq_u8_s8(w), x);
  return vaddq_s32(sum, vcombine_s32(vuzp1_s32(vget_low_s32(turned), vget_high_s32(turned)),
                                     vuzp2_s32(vget_low_s32(turned), vget_high_s32(turned))));
}

// sums, `apart` values from each other, of four rows x, `stride` bytes apart, times weights [depth / 8, 16 columns, 8].
template <bool kUnsigned>
void multiply_four(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, bool first, int32_t* sums,
                   size_t apart) {
  int32x4_t s[2][kSide / 2];  // of two rows and two columns each
  for (size_t i = 0; i < 2; ++i)
    for (size_t n = 0; n < kSide / 2; ++n) {
      const int32_t* from = sums + 2 * i * apart + 2 * n;
      s[i][n] = first ? vdupq_n_s32(0) : vcombine_s32(vld1_s32(from), vld1_s32(from + apart));
    }
  for (size_t k = 0; k < depth; k += 8) {
    int8x16_t rows[2];
    for (size_t i = 0; i < 2; ++i) {
      const auto* row = reinterpret_cast<const int8_t*>(x + 2 * i * stride + k);
      rows[i] = vcombine_s8(vld1_s8(row), vld1_s8(row + stride));
    }
    for (size_t n = 0; n < kSide / 2; ++n) {
      const int8x16_t w = signed_bytes(weights + kSide * k + 16 * n);
      for (size_t i = 0; i < 2; ++i) s[i][n] = added<kUnsigned>(s[i][n], rows[i], w);
    }
  }
  for (size_t i = 0; i < 2; ++i)
    for (size_t n = 0; n < kSide / 2; ++n) {
      int32_t* to = sums + 2 * i * apart + 2 * n;
      vst1_s32(to, vget_low_s32(s[i][n]));
      vst1_s32(to + apart, vget_high_s32(s[i][n]));
    }
}
#else
// The same by weights [depth / 4, 16 columns, 4], which if they are unsigned are written 128 below.
template <bool kUnsigned>
void multiply_four(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, bool first, int32_t* sums,
                   size_t apart) {
  int32x4_t s[kAtOnce][4];
  for (size_t i = 0; i < kAtOnce; ++i)
    for (size_t n = 0; n < 4; ++n)
      s[i][n] = first ? vdupq_n_s32(of_zeros<kUnsigned>(x + i * stride, depth)) : vld1q_s32(sums + i * apart + 4 * n);
  const auto add_quarter = [&](const int8x16_t(&rows)[kAtOnce], const uint8_t* w, auto quarter) {
    for (size_t n = 0; n < 4; ++n) {
      const int8x16_t four = signed_bytes(w + 16 * n);
      for (size_t i = 0; i < kAtOnce; ++i) s[i][n] = vdotq_laneq_s32(s[i][n], four, rows[i], quarter);
    }
  };
  for (size_t k = 0; k < depth; k += 16) {
    int8x16_t rows[kAtOnce];
    for (size_t i = 0; i < kAtOnce; ++i) rows[i] = signed_bytes(x + i * stride + k);
    const uint8_t* w = weights + kSide * k;
    add_quarter(rows, w, std::integral_constant<int, 0>());
    add_quarter(rows, w + 64, std::integral_constant<int, 1>());
    add_quarter(rows, w + 128, std::integral_constant<int, 2>());
    add_quarter(rows, w + 192, std::integral_constant<int, 3>());
  }
  for (size_t i = 0; i < kAtOnce; ++i)
    for (size_t n = 0; n < 4; ++n) vst1q_s32(sums + i * apart + 4 * n, s[i][n]);
}
#endif

// Of a block of 32 rows those that count, and up to three more.
inline void multiply(const Piece& p, int32_t* sums) {
  for (size_t n = 0; n < kPanel; n += kSide)
    for (size_t i = 0; i < p.rows; i += kAtOnce)
      multiply_four<false>(p.x + i * p.depth + p.from, p.depth, p.packed + n * p.depth + kSide * p.from, p.to - p.from,
                           p.from == 0, sums + i * kPanel + n, kPanel);
}

// A block of sixteen rows and columns.
template <bool kUnsigned>
void dot_block(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, int32_t* dots) {
  for (size_t i = 0; i < kSide; i += kAtOnce)
    multiply_four<kUnsigned>(x + i * stride, stride, weights, depth, true, dots + i * kSide, kSide);
}

}  // namespace rrwkv::neon::RRWKV_DOTS
