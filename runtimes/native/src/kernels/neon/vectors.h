// Sixteen lanes as four vectors of NEON.
//
// All of this folder is compiled twice, with i8mm and without: in a namespace of its own each, as RRWKV_DOTS says, so
// that no function of the one is taken for the other's.
#pragma once

#include <arm_neon.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/lanes/each.h"

namespace rrwkv::neon::RRWKV_DOTS {

using lanes::kLanes;

constexpr size_t kQuarter = 4;

// Four vectors by an action on each, or on each two or three.
template <typename Lanes, typename From, typename Action>
inline Lanes by_quarter(const From& a, const Action& action) {
  return {{action(a.q[0]), action(a.q[1]), action(a.q[2]), action(a.q[3])}};
}
template <typename Lanes, typename Action>
inline Lanes by_quarter(const Lanes& a, const Lanes& b, const Action& action) {
  return {{action(a.q[0], b.q[0]), action(a.q[1], b.q[1]), action(a.q[2], b.q[2]), action(a.q[3], b.q[3])}};
}

// Four vectors by an action on the number of each, which the compiler knows: it keeps no array in memory.
template <typename Lanes, typename Action>
inline Lanes of_quarters(const Action& action) {
  return {{action(0), action(1), action(2), action(3)}};
}

// What is there of sixteen values, and zeros.
template <typename Value>
struct Filled {
  Filled(const Value* from, size_t left) { std::memcpy(values, from, std::min(left, kLanes) * sizeof *from); }
  Value values[kLanes] = {};
};

struct Ints {
  int32x4_t q[kQuarter];

  static Ints all(int32_t value) {
    return {{vdupq_n_s32(value), vdupq_n_s32(value), vdupq_n_s32(value), vdupq_n_s32(value)}};
  }
  static Ints load(const int32_t* from) {
    return {{vld1q_s32(from), vld1q_s32(from + 4), vld1q_s32(from + 8), vld1q_s32(from + 12)}};
  }
  static Ints load(const int32_t* from, size_t left) {
    return left >= kLanes ? load(from) : load(Filled<int32_t>(from, left).values);
  }
  // The lowest byte of each.
  void store_bytes(uint8_t* to, size_t left) const {
    const int16x8_t low = vcombine_s16(vmovn_s32(q[0]), vmovn_s32(q[1])),
                    high = vcombine_s16(vmovn_s32(q[2]), vmovn_s32(q[3]));
    const int8x16_t bytes = vcombine_s8(vmovn_s16(low), vmovn_s16(high));
    if (left >= kLanes) return vst1q_s8(reinterpret_cast<int8_t*>(to), bytes);
    std::memcpy(to, &bytes, left);
  }
};

struct Floats {
  float32x4_t q[kQuarter];

  static Floats all(float value) {
    return {{vdupq_n_f32(value), vdupq_n_f32(value), vdupq_n_f32(value), vdupq_n_f32(value)}};
  }
  static Floats load(const float* from) {
    return {{vld1q_f32(from), vld1q_f32(from + 4), vld1q_f32(from + 8), vld1q_f32(from + 12)}};
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
    const uint8x16_t bytes = vld1q_u8(from);
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    const auto four = [](uint16x4_t words) { return vcvtq_f32_u32(vmovl_u16(words)); };
    return {{four(vget_low_u16(low)), four(vget_high_u16(low)), four(vget_low_u16(high)), four(vget_high_u16(high))}};
  }
  static Floats of_halves(const uint16_t* from) {
    const auto four = [](const uint16_t* halves) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves))); };
    return {{four(from), four(from + 4), four(from + 8), four(from + 12)}};
  }
  static Floats of_halves(const uint16_t* from, size_t left) {
    return left >= kLanes ? of_halves(from) : of_halves(Filled<uint16_t>(from, left).values);
  }
  void store(float* to) const {
    for (size_t i = 0; i < kQuarter; ++i) vst1q_f32(to + 4 * i, q[i]);
  }
  void store(float* to, size_t left) const { left >= kLanes ? store(to) : void(std::memcpy(to, q, left * sizeof *to)); }
};

inline Floats operator+(const Floats& a, const Floats& b) {
  return by_quarter(a, b, [](float32x4_t x, float32x4_t y) { return vaddq_f32(x, y); });
}
inline Floats operator-(const Floats& a, const Floats& b) {
  return by_quarter(a, b, [](float32x4_t x, float32x4_t y) { return vsubq_f32(x, y); });
}
inline Floats operator*(const Floats& a, const Floats& b) {
  return by_quarter(a, b, [](float32x4_t x, float32x4_t y) { return vmulq_f32(x, y); });
}
inline Floats operator/(const Floats& a, const Floats& b) {
  return by_quarter(a, b, [](float32x4_t x, float32x4_t y) { return vdivq_f32(x, y); });
}
// Of what is no number, the second.
inline float32x4_t larger(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
inline float32x4_t smaller(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(x, y), x, y); }
inline Floats max(const Floats& a, const Floats& b) { return by_quarter(a, b, larger); }
inline Floats min(const Floats& a, const Floats& b) { return by_quarter(a, b, smaller); }
inline Floats abs(const Floats& a) {
  return by_quarter<Floats>(a, [](float32x4_t x) { return vabsq_f32(x); });
}
inline Floats fma(const Floats& a, const Floats& b, const Floats& c) {
  return of_quarters<Floats>([&](size_t i) { return vfmaq_f32(c.q[i], a.q[i], b.q[i]); });
}

// p · 2^m, m a whole number from -256 to 254: in two steps, of which the first is exact.
inline Floats times_power_of_two(const Floats& p, const Floats& m) {
  return by_quarter(p, m, [](float32x4_t p, float32x4_t m) {
    const int32x4_t all = vcvtnq_s32_f32(m), half = vshrq_n_s32(all, 1), rest = vsubq_s32(all, half);
    const auto power = [](int32x4_t of) {
      return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(of, vdupq_n_s32(127)), 23));
    };
    return vmulq_f32(vmulq_f32(p, power(half)), power(rest));
  });
}

inline Ints operator+(const Ints& a, const Ints& b) {
  return by_quarter(a, b, [](int32x4_t x, int32x4_t y) { return vaddq_s32(x, y); });
}
inline Ints operator-(const Ints& a, const Ints& b) {
  return by_quarter(a, b, [](int32x4_t x, int32x4_t y) { return vsubq_s32(x, y); });
}
inline Ints operator*(const Ints& a, const Ints& b) {
  return by_quarter(a, b, [](int32x4_t x, int32x4_t y) { return vmulq_s32(x, y); });
}
inline Floats floats_of(const Ints& a) {
  return by_quarter<Floats>(a, [](int32x4_t x) { return vcvtq_f32_s32(x); });
}
// To the nearest, ties to even.
inline Ints rounded(const Floats& a) {
  return by_quarter<Ints>(a, [](float32x4_t x) { return vcvtnq_s32_f32(x); });
}

// The eight last are added to the eight first, and so on.
template <typename Action>
inline float folded(const Floats& a, const Action& action) {
  const float32x4_t four = action(action(a.q[0], a.q[2]), action(a.q[1], a.q[3]));
  const float32x4_t two = action(four, vextq_f32(four, four, 2));
  return vgetq_lane_f32(action(two, vdupq_laneq_f32(two, 1)), 0);
}
inline float sum(const Floats& a) {
  return folded(a, [](float32x4_t x, float32x4_t y) { return vaddq_f32(x, y); });
}
inline float largest(const Floats& a) { return folded(a, larger); }
inline float least(const Floats& a) { return folded(a, smaller); }
inline int32_t sum(const Ints& a) {
  return vaddvq_s32(vaddq_s32(vaddq_s32(a.q[0], a.q[1]), vaddq_s32(a.q[2], a.q[3])));
}

}  // namespace rrwkv::neon::RRWKV_DOTS
