// Weights in the order of products of many rows.
#pragma once

#include "kernels/lanes/blockwise_tile.h"
#include "kernels/neon/tiles.h"

namespace rrwkv::neon::RRWKV_DOTS {

// [columns / 16, depth / group, 16 columns, group]
inline void pack(const int8_t* weight, size_t stride, size_t K, Span rows, size_t columns, uint8_t* packed,
                 int32_t* sums) {
  const size_t depth = padded(K, kDepth), all = padded(columns, kPacked);
  std::fill_n(sums, all, 0);
  for (size_t k = rows.begin; k < rows.end; k += 4)
    for (size_t n = 0; n < all; n += kSide) {
      int8_t copies[4][kSide] = {};
      int8x16_t row[4], four[4];
      for (size_t i = 0; i < 4; ++i) {
        const int8_t* from = weight + (k + i) * stride + n;
        if (k + i < K && n < columns) std::memcpy(copies[i], from, std::min(kSide, columns - n));
        row[i] = vld1q_s8(copies[i]);
      }
      interleave(row, four);
      uint8_t* to = packed + n * depth + k / kGroup * kGroup * kSide + k % kGroup;
      for (size_t i = 0; i < 4; ++i) {
        vst1q_s32(sums + n + 4 * i, vdotq_s32(vld1q_s32(sums + n + 4 * i), four[i], vdupq_n_s8(1)));
        int32_t of_columns[4];
        vst1q_s32(of_columns, vreinterpretq_s32_s8(four[i]));
        for (size_t column = 0; column < 4; ++column)
          std::memcpy(to + (4 * i + column) * kGroup, of_columns + column, 4);
      }
    }
}

// Sixteen outputs of blockwise weights: bytes [K / group, 16, group], and scales.
inline void unpack(const BlockwiseWeights& w, size_t output, uint8_t* bytes, float* scales) {
  lanes::unpack_bytes(w, output, bytes);
  const size_t count = w.row_bytes * 8 / w.bits * kSide;
#if defined(__ARM_FEATURE_MATMUL_INT8)
  for (size_t from = 0; from < count; from += 2 * kSide * 4) {  // two groups of four become one of eight
    uint32_t groups[2][kSide];
    std::memcpy(groups, bytes + from, sizeof groups);
    for (size_t i = 0; i < kSide; ++i)
      for (size_t half = 0; half < 2; ++half) std::memcpy(bytes + from + 8 * i + 4 * half, &groups[half][i], 4);
  }
#else
  if (w.bits == 8)
    for (size_t i = 0; i < count; i += 16) vst1q_u8(bytes + i, veorq_u8(vld1q_u8(bytes + i), vdupq_n_u8(128)));
#endif
  for (size_t b = 0; b < w.blocks; ++b) lanes::scales_of(w, output, b, scales + kSide * b);
}

}  // namespace rrwkv::neon::RRWKV_DOTS
