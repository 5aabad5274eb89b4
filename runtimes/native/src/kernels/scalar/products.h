// Products of whole numbers in plain C++.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/kernels.h"
#include "kernels/lanes/each.h"
#include "kernels/scalar/vectors.h"

namespace rrwkv::scalar {

// See `lanes::accumulate`.
struct Fours {
  static constexpr size_t kColumns = 16;

  struct Factors {
    explicit Factors(const uint8_t bytes[4]) { std::copy_n(bytes, 4, x); }
    int32_t x[4];
  };

  static void add(const int8_t* row, size_t apart, const Factors& factors, int32_t* sums) {
    for (size_t i = 0; i < 4; ++i)
      for (size_t n = 0; n < kColumns; ++n) sums[n] += factors.x[i] * row[i * apart + n];
  }
  static void put_in_order(int32_t*) {}
  static int32_t value(uint8_t x) { return x; }
};

// See `lanes::Blockwise`.
struct BlockLanes {
  static constexpr size_t kRowsAtOnce = 1;

  static Ints dot8(const uint8_t* w, const uint8_t* x) {
    Ints dots = Ints::all(0);
    for (size_t i = 0; i < 4 * kLanes; ++i) dots.v[i / 4] += w[i] * static_cast<int8_t>(x[i]);
    return dots;
  }
  static Ints dot4(const uint8_t* w, const uint8_t* even, const uint8_t* odd) {
    Ints dots = Ints::all(0);
    for (size_t i = 0; i < 4 * kLanes; ++i)
      dots.v[i / 4] += (w[i] & 15) * static_cast<int8_t>(even[i]) + (w[i] >> 4) * static_cast<int8_t>(odd[i]);
    return dots;
  }
  // Each of `held` scales in as many lanes.
  template <size_t kInBlock>
  static Floats spread(const float* scale, size_t held) {
    Floats y = Floats::all(0);
    for (size_t i = 0; i < kLanes; ++i)
      if (i / kInBlock < held) y.v[i] = scale[i / kInBlock];
    return y;
  }
};

// Some rows as [columns / 16, depth / 4, 16 columns, 4 rows].
inline void pack(const int8_t* weight, size_t stride, size_t K, Span rows, size_t columns, uint8_t* packed,
                 int32_t* sums) {
  const size_t depth = padded(K, kDepth), all = padded(columns, kPacked);
  std::fill_n(sums, all, 0);
  for (size_t k = rows.begin; k < rows.end; ++k)
    for (size_t n = 0; n < all; ++n) {
      const int8_t w = k < K && n < columns ? weight[k * stride + n] : int8_t{0};
      std::memcpy(packed + n / kSide * kSide * depth + k / 4 * 4 * kSide + n % kSide * 4 + k % 4, &w, 1);
      sums[n] += w;
    }
}

inline void begin(size_t) {}
inline void end() {}

inline void multiply(const Piece& p, int32_t* sums) {
  for (size_t i = 0; i < p.rows; ++i)
    for (size_t n = 0; n < kPanel; ++n) {
      const auto* w = reinterpret_cast<const int8_t*>(p.packed) + n / kSide * kSide * p.depth + n % kSide * 4;
      int32_t sum = p.from ? sums[i * kPanel + n] : 0;
      for (size_t k = p.from; k < p.to; ++k) sum += p.x[i * p.depth + k] * w[k / 4 * 4 * kSide + k % 4];
      sums[i * kPanel + n] = sum;
    }
}

inline void dot_block(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, int32_t* dots) {
  for (size_t i = 0; i < kSide; ++i)
    for (size_t n = 0; n < kSide; ++n) {
      int32_t sum = 0;
      for (size_t k = 0; k < depth; ++k)
        sum += static_cast<int8_t>(x[i * stride + k]) * weights[k / 4 * 4 * kSide + n * 4 + k % 4];
      dots[i * kSide + n] = sum;
    }
}

}  // namespace rrwkv::scalar
