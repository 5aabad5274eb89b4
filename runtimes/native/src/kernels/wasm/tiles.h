// Whole numbers of many rows, of 16 bits by twos.
#pragma once

#include "kernels/lanes/blockwise_tile.h"
#include "kernels/wasm/products.h"

namespace rrwkv::wasm {

constexpr size_t kValueBytes = 2;
constexpr size_t kAtOnce = 2;  // rows whose sums stay in registers, of sixteen columns

// sums, `apart` values from each other, of some rows x, so many bytes apart, times weights [bytes / 4, 16 columns, 2].
template <size_t kCount>
void multiply_some(const uint8_t* x, size_t stride, const uint8_t* weights, size_t bytes, bool first, int32_t* sums,
                   size_t apart) {
  Ints s[kCount];
  for (size_t i = 0; i < kCount; ++i) s[i] = first ? Ints::all(0) : Ints::load(sums + i * apart);
  for (size_t k = 0; k < bytes; k += 4) {
    v128_t two[kCount];
    for (size_t i = 0; i < kCount; ++i) two[i] = wasm_v128_load32_splat(x + i * stride + k);
    for (size_t n = 0; n < kQuarter; ++n) {
      const v128_t w = wasm_v128_load(weights + kSide * k + 16 * n);
      for (size_t i = 0; i < kCount; ++i) s[i].q[n] = wasm_i32x4_add(s[i].q[n], dot(two[i], w));
    }
  }
  for (size_t i = 0; i < kCount; ++i) s[i].store(sums + i * apart);
}

// The same of `rows`.
inline void multiply_rows(size_t rows, const uint8_t* x, size_t stride, const uint8_t* weights, size_t bytes,
                          bool first, int32_t* sums, size_t apart) {
  size_t i = 0;
  for (; i + kAtOnce <= rows; i += kAtOnce)
    multiply_some<kAtOnce>(x + i * stride, stride, weights, bytes, first, sums + i * apart, apart);
  for (; i < rows; ++i) multiply_some<1>(x + i * stride, stride, weights, bytes, first, sums + i * apart, apart);
}

inline void multiply(const Piece& p, int32_t* sums) {
  const size_t stride = p.depth * kValueBytes, from = p.from * kValueBytes, bytes = (p.to - p.from) * kValueBytes;
  for (size_t n = 0; n < kPanel; n += kSide)
    multiply_rows(p.rows, p.x + from, stride, p.packed + n * stride + kSide * from, bytes, p.from == 0, sums + n,
                  kPanel);
}

// A block of sixteen rows and columns.
inline void dot_block(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, int32_t* dots) {
  multiply_rows(kSide, x, stride, weights, depth * kValueBytes, true, dots, kSide);
}

// int8 weights as [columns / 16, depth / 2, 16, 2] numbers of 16 bits.
inline void pack(const int8_t* weight, size_t stride, size_t K, Span rows, size_t columns, uint8_t* packed,
                 int32_t* sums) {
  const size_t depth = padded(K, kDepth), all = padded(columns, kPacked);
  std::fill_n(sums, all, 0);
  for (size_t k = rows.begin; k < rows.end; k += 2)
    for (size_t n = 0; n < all; n += kSide) {
      int8_t copies[2][kSide] = {};
      v128_t row[2];
      for (size_t i = 0; i < 2; ++i) {
        const int8_t* from = weight + (k + i) * stride + n;
        const bool whole = k + i < K && n + kSide <= columns;
        if (!whole && k + i < K && n < columns) std::memcpy(copies[i], from, columns - n);
        row[i] = wasm_v128_load(whole ? from : copies[i]);
      }
      uint8_t* to = packed + (n * depth + kSide * k) * kValueBytes;
      const auto put = [&](size_t i, v128_t two) {
        wasm_v128_store(to + 16 * i, two);
        wasm_v128_store(sums + n + 4 * i,
                        wasm_i32x4_add(wasm_v128_load(sums + n + 4 * i), dot(two, wasm_i16x8_splat(1))));
      };
      const Interleaved both(row[0], row[1]);
      for (size_t i = 0; i < kQuarter; ++i) put(i, both.q[i]);
    }
}

// Sixteen outputs of blockwise weights as numbers of 16 bits [K / 2, 16, 2], and scales.
inline void unpack(const BlockwiseWeights& w, size_t output, uint8_t* bytes, float* scales) {
  if (w.bits == 8) {
    lanes::unpack_words(w, output, bytes);
  } else {
    for (size_t i = 0; i < kSide; ++i) {
      const uint8_t* row = w.weight + std::min(output + i, w.outputs - 1) * w.row_bytes;
      for (size_t k = 0; k < w.row_bytes; ++k) {
        const uint16_t two[2] = {static_cast<uint16_t>(row[k] & 15), static_cast<uint16_t>(row[k] >> 4)};
        std::memcpy(bytes + (k * kSide + i) * sizeof two, two, sizeof two);
      }
    }
  }
  for (size_t b = 0; b < w.blocks; ++b) lanes::scales_of(w, output, b, scales + kSide * b);
}

// A row of many, in their order.
inline void quantize_row(const BlockwiseWeights& w, const float* x, uint8_t* bytes, float* scales, float* zeros) {
  lanes::quantize_blocks<Floats>(w, x, bytes, scales, zeros);
  lanes::widen(bytes, w.activation_bytes());
}

}  // namespace rrwkv::wasm
