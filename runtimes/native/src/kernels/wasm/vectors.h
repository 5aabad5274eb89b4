// Sixteen lanes as four vectors of WebAssembly.
#pragma once

#include <wasm_simd128.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/lanes/each.h"

namespace rrwkv::wasm {

using lanes::kLanes;

constexpr size_t kQuarter = 4;

// Four vectors by an action on each, or on each two.
template <typename Lanes, typename From, typename Action>
inline Lanes by_quarter(const From& a, const Action& action) {
  return {{action(a.q[0]), action(a.q[1]), action(a.q[2]), action(a.q[3])}};
}
template <typename Lanes, typename Action>
inline Lanes by_quarter(const Lanes& a, const Lanes& b, const Action& action) {
  return {{action(a.q[0], b.q[0]), action(a.q[1], b.q[1]), action(a.q[2], b.q[2]), action(a.q[3], b.q[3])}};
}

// What is there of sixteen values, and zeros.
template <typename Value>
struct Filled {
  Filled(const Value* from, size_t left) { std::memcpy(values, from, std::min(left, kLanes) * sizeof *from); }
  Value values[kLanes] = {};
};

struct Ints {
  v128_t q[kQuarter];

  static Ints all(int32_t value) {
    const v128_t v = wasm_i32x4_splat(value);
    return {{v, v, v, v}};
  }
  static Ints load(const int32_t* from) {
    return {{wasm_v128_load(from), wasm_v128_load(from + 4), wasm_v128_load(from + 8), wasm_v128_load(from + 12)}};
  }
  static Ints load(const int32_t* from, size_t left) {
    return left >= kLanes ? load(from) : load(Filled<int32_t>(from, left).values);
  }
  void store(int32_t* to) const {
    for (size_t i = 0; i < kQuarter; ++i) wasm_v128_store(to + 4 * i, q[i]);
  }
  // The lowest byte, or the lower two, of each.
  void store_bytes(uint8_t* to, size_t left) const {
    const Ints low = by_quarter<Ints>(*this, [](v128_t x) { return wasm_v128_and(x, wasm_i32x4_splat(255)); });
    const v128_t bytes = wasm_u8x16_narrow_i16x8(wasm_u16x8_narrow_i32x4(low.q[0], low.q[1]),
                                                 wasm_u16x8_narrow_i32x4(low.q[2], low.q[3]));
    std::memcpy(to, &bytes, std::min(left, kLanes));
  }
  void store_words(uint16_t* to, size_t left) const {
    const Ints low = by_quarter<Ints>(*this, [](v128_t x) { return wasm_v128_and(x, wasm_i32x4_splat(0xffff)); });
    const v128_t words[] = {wasm_u16x8_narrow_i32x4(low.q[0], low.q[1]), wasm_u16x8_narrow_i32x4(low.q[2], low.q[3])};
    std::memcpy(to, words, std::min(left, kLanes) * sizeof *to);
  }
};

inline v128_t float_of_halves(v128_t halves) {
  const v128_t bits = wasm_i32x4_shl(wasm_v128_and(halves, wasm_i32x4_splat(0x7fff)), 13);
  const v128_t exponent = wasm_v128_and(bits, wasm_i32x4_splat(0x1f << 23));
  const v128_t none = wasm_i32x4_eq(exponent, wasm_i32x4_splat(0x1f << 23)), step = wasm_i32x4_splat(112 << 23);
  const v128_t normal = wasm_i32x4_add(wasm_i32x4_add(bits, step), wasm_v128_and(none, step));
  // What is less than the least normal one is a fraction of it: 1 is added to the exponent, and taken away as a float.
  const v128_t small = wasm_f32x4_sub(wasm_i32x4_add(bits, wasm_i32x4_splat(113 << 23)), wasm_f32x4_splat(0x1p-14f));
  const v128_t sign = wasm_i32x4_shl(wasm_v128_and(halves, wasm_i32x4_splat(0x8000)), 16);
  return wasm_v128_or(sign, wasm_v128_bitselect(small, normal, wasm_i32x4_eq(exponent, wasm_i32x4_splat(0))));
}

struct Floats {
  v128_t q[kQuarter];

  static Floats all(float value) {
    const v128_t v = wasm_f32x4_splat(value);
    return {{v, v, v, v}};
  }
  static Floats load(const float* from) {
    return {{wasm_v128_load(from), wasm_v128_load(from + 4), wasm_v128_load(from + 8), wasm_v128_load(from + 12)}};
  }
  static Floats load(const float* from, size_t left) {
    return left >= kLanes ? load(from) : load(Filled<float>(from, left).values);
  }
  // Values that are a stride apart.
  static Floats gather(const float* from, size_t stride, size_t left) {
    float v[kLanes] = {};
    for (size_t i = 0; i < left; ++i) v[i] = from[i * stride];
    return load(v);
  }
  static Floats of_bytes(const uint8_t* from) {
    const v128_t low = wasm_u16x8_load8x8(from), high = wasm_u16x8_load8x8(from + 8);
    return {{wasm_f32x4_convert_i32x4(wasm_u32x4_extend_low_u16x8(low)),
             wasm_f32x4_convert_i32x4(wasm_u32x4_extend_high_u16x8(low)),
             wasm_f32x4_convert_i32x4(wasm_u32x4_extend_low_u16x8(high)),
             wasm_f32x4_convert_i32x4(wasm_u32x4_extend_high_u16x8(high))}};
  }
  static Floats of_halves(const uint16_t* from) {
    const auto four = [](const uint16_t* halves) { return float_of_halves(wasm_u32x4_load16x4(halves)); };
    return {{four(from), four(from + 4), four(from + 8), four(from + 12)}};
  }
  static Floats of_halves(const uint16_t* from, size_t left) {
    return left >= kLanes ? of_halves(from) : of_halves(Filled<uint16_t>(from, left).values);
  }
  void store(float* to) const {
    for (size_t i = 0; i < kQuarter; ++i) wasm_v128_store(to + 4 * i, q[i]);
  }
  void store(float* to, size_t left) const { left >= kLanes ? store(to) : void(std::memcpy(to, q, left * sizeof *to)); }
};

inline Floats operator+(const Floats& a, const Floats& b) {
  return by_quarter(a, b, [](v128_t x, v128_t y) { return wasm_f32x4_add(x, y); });
}
inline Floats operator-(const Floats& a, const Floats& b) {
  return by_quarter(a, b, [](v128_t x, v128_t y) { return wasm_f32x4_sub(x, y); });
}
inline Floats operator*(const Floats& a, const Floats& b) {
  return by_quarter(a, b, [](v128_t x, v128_t y) { return wasm_f32x4_mul(x, y); });
}
inline Floats operator/(const Floats& a, const Floats& b) {
  return by_quarter(a, b, [](v128_t x, v128_t y) { return wasm_f32x4_div(x, y); });
}
// Of what is no number, the second.
inline v128_t larger(v128_t x, v128_t y) { return wasm_f32x4_pmax(y, x); }
inline v128_t smaller(v128_t x, v128_t y) { return wasm_f32x4_pmin(y, x); }
inline Floats max(const Floats& a, const Floats& b) { return by_quarter(a, b, larger); }
inline Floats min(const Floats& a, const Floats& b) { return by_quarter(a, b, smaller); }
inline Floats abs(const Floats& a) {
  return by_quarter<Floats>(a, [](v128_t x) { return wasm_f32x4_abs(x); });
}
inline v128_t fma(v128_t a, v128_t b, v128_t c) {
#if defined(__wasm_relaxed_simd__)
  return wasm_f32x4_relaxed_madd(a, b, c);
#else
  return wasm_f32x4_add(wasm_f32x4_mul(a, b), c);
#endif
}
inline Floats fma(const Floats& a, const Floats& b, const Floats& c) {
  Floats y;
  for (size_t i = 0; i < kQuarter; ++i) y.q[i] = fma(a.q[i], b.q[i], c.q[i]);
  return y;
}

// p · 2^m, m a whole number from -256 to 254: in two steps, of which the first is exact.
inline Floats times_power_of_two(const Floats& p, const Floats& m) {
  return by_quarter(p, m, [](v128_t p, v128_t m) {
    const v128_t all = wasm_i32x4_trunc_sat_f32x4(m), half = wasm_i32x4_shr(all, 1), rest = wasm_i32x4_sub(all, half);
    const auto power = [](v128_t of) { return wasm_i32x4_shl(wasm_i32x4_add(of, wasm_i32x4_splat(127)), 23); };
    return wasm_f32x4_mul(wasm_f32x4_mul(p, power(half)), power(rest));
  });
}

inline Ints operator+(const Ints& a, const Ints& b) {
  return by_quarter(a, b, [](v128_t x, v128_t y) { return wasm_i32x4_add(x, y); });
}
inline Ints operator-(const Ints& a, const Ints& b) {
  return by_quarter(a, b, [](v128_t x, v128_t y) { return wasm_i32x4_sub(x, y); });
}
inline Ints operator*(const Ints& a, const Ints& b) {
  return by_quarter(a, b, [](v128_t x, v128_t y) { return wasm_i32x4_mul(x, y); });
}
inline Floats floats_of(const Ints& a) {
  return by_quarter<Floats>(a, [](v128_t x) { return wasm_f32x4_convert_i32x4(x); });
}
// To the nearest, ties to even; the least there is where there is none.
inline Ints rounded(const Floats& a) {
  return by_quarter<Ints>(a, [](v128_t x) {
    const v128_t held =
        wasm_v128_and(wasm_f32x4_ge(x, wasm_f32x4_splat(-0x1p31f)), wasm_f32x4_lt(x, wasm_f32x4_splat(0x1p31f)));
    return wasm_v128_bitselect(wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(x)), wasm_i32x4_splat(INT32_MIN), held);
  });
}

// The eight last are added to the eight first, and so on.
template <typename Action>
inline float folded(const Floats& a, const Action& action) {
  const v128_t four = action(action(a.q[0], a.q[2]), action(a.q[1], a.q[3]));
  const v128_t two = action(four, wasm_i32x4_shuffle(four, four, 2, 3, 2, 3));
  return wasm_f32x4_extract_lane(action(two, wasm_i32x4_shuffle(two, two, 1, 1, 1, 1)), 0);
}
inline float sum(const Floats& a) {
  return folded(a, [](v128_t x, v128_t y) { return wasm_f32x4_add(x, y); });
}
inline float largest(const Floats& a) { return folded(a, larger); }
inline float least(const Floats& a) { return folded(a, smaller); }
inline int32_t sum(const Ints& a) {
  const v128_t four = wasm_i32x4_add(wasm_i32x4_add(a.q[0], a.q[1]), wasm_i32x4_add(a.q[2], a.q[3]));
  const v128_t two = wasm_i32x4_add(four, wasm_i32x4_shuffle(four, four, 2, 3, 2, 3));
  return wasm_i32x4_extract_lane(wasm_i32x4_add(two, wasm_i32x4_shuffle(two, two, 1, 1, 1, 1)), 0);
}

}  // namespace rrwkv::wasm
