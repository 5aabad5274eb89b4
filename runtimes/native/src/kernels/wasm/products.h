// Products of whole numbers of one row. WebAssembly multiplies numbers of 16 bits and adds them by twos: bytes are made
// such numbers, those at even places and those at odd ones, so that four bytes add to the lane that they lie in.
#pragma once

#include <algorithm>

#include "kernels/lanes/blockwise.h"
#include "kernels/wasm/vectors.h"

namespace rrwkv::wasm {

// Of two numbers of 16 bits in each lane, sums of two products.
inline v128_t dot(v128_t a, v128_t b) { return wasm_i32x4_dot_i16x8(a, b); }

// Bytes as numbers of 16 bits. kSigned: what they are.
struct Parted {
  static Parted of_signed(v128_t bytes) {
    return {wasm_i16x8_shr(wasm_i16x8_shl(bytes, 8), 8), wasm_i16x8_shr(bytes, 8)};
  }
  static Parted of_unsigned(v128_t bytes) {
    return {wasm_v128_and(bytes, wasm_i16x8_splat(255)), wasm_u16x8_shr(bytes, 8)};
  }
  v128_t dot(const Parted& other) const {
    return wasm_i32x4_add(wasm::dot(even, other.even), wasm::dot(odd, other.odd));
  }

  v128_t even, odd;
};

// Two rows of sixteen bytes as numbers of 16 bits, a column's two beside each other: four columns each.
struct Interleaved {
  Interleaved(v128_t a, v128_t b) {
    const v128_t low = wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const v128_t high = wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    q[0] = wasm_i16x8_extend_low_i8x16(low);
    q[1] = wasm_i16x8_extend_high_i8x16(low);
    q[2] = wasm_i16x8_extend_low_i8x16(high);
    q[3] = wasm_i16x8_extend_high_i8x16(high);
  }
  v128_t q[kQuarter];
};

// See `lanes::accumulate`.
struct Fours {
  static constexpr size_t kColumns = 16;

  struct Factors {
    explicit Factors(const uint8_t bytes[4])
        : left(wasm_i32x4_splat(bytes[0] | bytes[1] << 16)), right(wasm_i32x4_splat(bytes[2] | bytes[3] << 16)) {}
    v128_t left, right;
  };

  static void add(const int8_t* row, size_t apart, const Factors& factors, int32_t* sums) {
    const Interleaved left(wasm_v128_load(row), wasm_v128_load(row + apart));
    const Interleaved right(wasm_v128_load(row + 2 * apart), wasm_v128_load(row + 3 * apart));
    for (size_t i = 0; i < kQuarter; ++i) {
      const v128_t more = wasm_i32x4_add(dot(left.q[i], factors.left), dot(right.q[i], factors.right));
      wasm_v128_store(sums + 4 * i, wasm_i32x4_add(wasm_v128_load(sums + 4 * i), more));
    }
  }
  static void put_in_order(int32_t*) {}
  static int32_t value(uint8_t x) { return x; }
};

// A quarter of 64 bytes of weights times activations: of 8 bits, or of 4 with what belongs to their even and odd
// places.
template <int kBits>
struct Activations;

template <>
struct Activations<8> {
  Activations(const uint8_t* x) : all(Parted::of_signed(wasm_v128_load(x))) {}
  v128_t dot(v128_t w) const { return Parted::of_unsigned(w).dot(all); }
  Parted all;
};

template <>
struct Activations<4> {
  Activations(const uint8_t* x)
      : even(Parted::of_signed(wasm_v128_load(x))), odd(Parted::of_signed(wasm_v128_load(x + lanes::kVector))) {}
  v128_t dot(v128_t w) const {
    const v128_t mask = wasm_i16x8_splat(15);
    const Parted low{wasm_v128_and(w, mask), wasm_v128_and(wasm_u16x8_shr(w, 8), mask)};
    const Parted high{wasm_v128_and(wasm_u16x8_shr(w, 4), mask), wasm_u16x8_shr(w, 12)};
    return wasm_i32x4_add(low.dot(even), high.dot(odd));
  }
  Parted even, odd;
};

// See `lanes::Blockwise`.
struct BlockLanes {
  static constexpr size_t kRowsAtOnce = 4;

  static Ints dot8(const uint8_t* w, const uint8_t* x) {
    Ints dots;
    for (size_t i = 0; i < kQuarter; ++i) dots.q[i] = Activations<8>(x + 16 * i).dot(wasm_v128_load(w + 16 * i));
    return dots;
  }
  static Ints dot4(const uint8_t* w, const uint8_t* even, const uint8_t*) {
    Ints dots;
    for (size_t i = 0; i < kQuarter; ++i) dots.q[i] = Activations<4>(even + 16 * i).dot(wasm_v128_load(w + 16 * i));
    return dots;
  }
  // Each of `held` scales in as many lanes.
  template <size_t kInBlock>
  static Floats spread(const float* scale, size_t held) {
    constexpr size_t kScales = kLanes / kInBlock;
    float some[kScales] = {};
    if (held < kScales) {
      std::copy_n(scale, held, some);
      scale = some;
    }
    Floats y;
    for (size_t i = 0; i < kQuarter; ++i) {
      if constexpr (kInBlock >= 4) {
        y.q[i] = wasm_v128_load32_splat(scale + 4 * i / kInBlock);
      } else {
        const v128_t two = wasm_v128_load64_splat(scale + 2 * i);
        y.q[i] = wasm_i32x4_shuffle(two, two, 0, 0, 1, 1);
      }
    }
    return y;
  }
};

inline void begin(size_t) {}
inline void end() {}

}  // namespace rrwkv::wasm
