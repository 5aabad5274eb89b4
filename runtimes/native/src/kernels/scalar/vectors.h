// Sixteen lanes in plain C++, for any processor: what the others are held to, bit by bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/lanes/each.h"

namespace rrwkv::scalar {

using lanes::kLanes;

struct Ints {
  int32_t v[kLanes];

  static Ints all(int32_t value) {
    Ints y;
    std::fill_n(y.v, kLanes, value);
    return y;
  }
  static Ints load(const int32_t* from, size_t left = kLanes) {
    Ints y = all(0);
    std::memcpy(y.v, from, std::min(left, kLanes) * sizeof *from);
    return y;
  }
  void store(int32_t* to) const { std::memcpy(to, v, sizeof v); }
  // The lowest byte of each.
  void store_bytes(uint8_t* to, size_t left) const {
    for (size_t i = 0; i < std::min(left, kLanes); ++i) to[i] = static_cast<uint8_t>(v[i]);
  }
};

struct Floats {
  float v[kLanes];

  static Floats all(float value) {
    Floats y;
    std::fill_n(y.v, kLanes, value);
    return y;
  }
  static Floats load(const float* from, size_t left = kLanes) {
    Floats y = all(0);
    std::memcpy(y.v, from, std::min(left, kLanes) * sizeof *from);
    return y;
  }
  // Values that are a stride apart.
  static Floats gather(const float* from, size_t stride, size_t left) {
    Floats y = all(0);
    for (size_t i = 0; i < std::min(left, kLanes); ++i) y.v[i] = from[i * stride];
    return y;
  }
  static Floats of_halves(const uint16_t* from, size_t left = kLanes);
  static Floats of_bytes(const uint8_t* from) {
    Floats y;
    for (size_t i = 0; i < kLanes; ++i) y.v[i] = from[i];
    return y;
  }
  void store(float* to, size_t left = kLanes) const { std::memcpy(to, v, std::min(left, kLanes) * sizeof *to); }
};

// Of each lane, or of each two.
template <typename To, typename From, typename Action>
To by_lane(const From& x, const Action& action) {
  To y;
  for (size_t i = 0; i < kLanes; ++i) y.v[i] = action(x.v[i]);
  return y;
}
template <typename Lanes, typename Action>
Lanes by_lane(const Lanes& a, const Lanes& b, const Action& action) {
  Lanes y;
  for (size_t i = 0; i < kLanes; ++i) y.v[i] = action(a.v[i], b.v[i]);
  return y;
}

inline Floats operator+(const Floats& a, const Floats& b) {
  return by_lane(a, b, [](float x, float y) { return x + y; });
}
inline Floats operator-(const Floats& a, const Floats& b) {
  return by_lane(a, b, [](float x, float y) { return x - y; });
}
inline Floats operator*(const Floats& a, const Floats& b) {
  return by_lane(a, b, [](float x, float y) { return x * y; });
}
inline Floats operator/(const Floats& a, const Floats& b) {
  return by_lane(a, b, [](float x, float y) { return x / y; });
}
// Of what is no number, the second.
inline Floats max(const Floats& a, const Floats& b) {
  return by_lane(a, b, [](float x, float y) { return x > y ? x : y; });
}
inline Floats min(const Floats& a, const Floats& b) {
  return by_lane(a, b, [](float x, float y) { return x < y ? x : y; });
}
inline Floats abs(const Floats& a) {
  return by_lane<Floats>(a, [](float x) { return std::fabs(x); });
}
inline Floats fma(const Floats& a, const Floats& b, const Floats& c) {
  Floats y;
  for (size_t i = 0; i < kLanes; ++i) y.v[i] = lanes::fused(a.v[i], b.v[i], c.v[i]);
  return y;
}
// p · 2^m, m a whole number.
inline Floats times_power_of_two(const Floats& p, const Floats& m) {
  return by_lane(p, m, [](float x, float y) { return y == y ? std::ldexp(x, static_cast<int>(y)) : y; });
}

// Sums are taken as unsigned numbers, which may overflow.
inline Ints operator+(const Ints& a, const Ints& b) {
  return by_lane(a, b, [](int32_t x, int32_t y) {
    return static_cast<int32_t>(static_cast<uint32_t>(x) + static_cast<uint32_t>(y));
  });
}
inline Ints operator-(const Ints& a, const Ints& b) {
  return by_lane(a, b, [](int32_t x, int32_t y) {
    return static_cast<int32_t>(static_cast<uint32_t>(x) - static_cast<uint32_t>(y));
  });
}
inline Ints operator*(const Ints& a, const Ints& b) {
  return by_lane(a, b, [](int32_t x, int32_t y) {
    return static_cast<int32_t>(static_cast<uint32_t>(x) * static_cast<uint32_t>(y));
  });
}
inline Floats floats_of(const Ints& a) {
  return by_lane<Floats>(a, [](int32_t x) { return static_cast<float>(x); });
}
// To the nearest, ties to even; the least there is where there is none.
inline Ints rounded(const Floats& a) {
  return by_lane<Ints>(
      a, [](float x) { return x >= -0x1p31f && x < 0x1p31f ? static_cast<int32_t>(std::nearbyint(x)) : INT32_MIN; });
}

// The eight last are added to the eight first, and so on.
template <typename Value, typename Action>
Value folded(const Value (&lanes)[kLanes], const Action& action) {
  Value v[kLanes];
  std::copy_n(lanes, kLanes, v);
  for (size_t half = kLanes / 2; half; half /= 2)
    for (size_t i = 0; i < half; ++i) v[i] = action(v[i], v[i + half]);
  return v[0];
}
inline float sum(const Floats& a) {
  return folded(a.v, [](float x, float y) { return x + y; });
}
inline float largest(const Floats& a) {
  return folded(a.v, [](float x, float y) { return x > y ? x : y; });
}
inline float least(const Floats& a) {
  return folded(a.v, [](float x, float y) { return x < y ? x : y; });
}
inline int32_t sum(const Ints& a) {
  uint32_t total = 0;
  for (const int32_t v : a.v) total += static_cast<uint32_t>(v);
  return static_cast<int32_t>(total);
}

inline float float_of_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
  if (exponent == 0) {  // zero, or less than the least normal one
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -value : value;
  }
  const uint32_t bits = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline Floats Floats::of_halves(const uint16_t* from, size_t left) {
  Floats y = all(0);
  for (size_t i = 0; i < std::min(left, kLanes); ++i) y.v[i] = float_of_half(from[i]);
  return y;
}

}  // namespace rrwkv::scalar
