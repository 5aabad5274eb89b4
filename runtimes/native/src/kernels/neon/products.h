// Products of whole numbers of one row. NEON multiplies signed bytes: so activations of Int8Kernels are written 128
// below their values.
#pragma once

#include "kernels/kernels.h"
#include "kernels/neon/vectors.h"

namespace rrwkv::neon::RRWKV_DOTS {

inline int8x16_t signed_bytes(const void* from) { return vld1q_s8(static_cast<const int8_t*>(from)); }

// Of each four bytes the same.
inline int8x16_t four_bytes(const uint8_t* x) {
  int32_t four;
  std::memcpy(&four, x, sizeof four);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

// Four rows of 16 bytes, a column's four beside each other: the j-th holds columns 4 j .. 4 j + 3.
inline void interleave(const int8x16_t rows[4], int8x16_t four[4]) {
  const auto zipped = [](int8x16_t a, int8x16_t b, bool high) {
    return vreinterpretq_s16_s8(high ? vzip2q_s8(a, b) : vzip1q_s8(a, b));
  };
  const int16x8_t ab_low = zipped(rows[0], rows[1], false), ab_high = zipped(rows[0], rows[1], true);
  const int16x8_t cd_low = zipped(rows[2], rows[3], false), cd_high = zipped(rows[2], rows[3], true);
  four[0] = vreinterpretq_s8_s16(vzip1q_s16(ab_low, cd_low));
  four[1] = vreinterpretq_s8_s16(vzip2q_s16(ab_low, cd_low));
  four[2] = vreinterpretq_s8_s16(vzip1q_s16(ab_high, cd_high));
  four[3] = vreinterpretq_s8_s16(vzip2q_s16(ab_high, cd_high));
}

// See `lanes::accumulate`.
struct Fours {
  static constexpr size_t kColumns = 32;

  struct Factors {
    explicit Factors(const uint8_t bytes[4]) : x(four_bytes(bytes)) {}
    int8x16_t x;
  };

  static void add(const int8_t* row, size_t apart, const Factors& factors, int32_t* sums) {
    for (size_t n = 0; n < kColumns; n += 16) {
      const int8x16_t rows[4] = {vld1q_s8(row + n), vld1q_s8(row + n + apart), vld1q_s8(row + n + 2 * apart),
                                 vld1q_s8(row + n + 3 * apart)};
      int8x16_t four[4];
      interleave(rows, four);
      for (size_t i = 0; i < 4; ++i) {
        int32_t* of_four = sums + n + 4 * i;
        vst1q_s32(of_four, vdotq_s32(vld1q_s32(of_four), four[i], factors.x));
      }
    }
  }
  static void put_in_order(int32_t*) {}
  static int32_t value(uint8_t x) { return static_cast<int8_t>(x); }
};

// Sums of uint8 times int8, four and four.
inline int32x4_t dot(uint8x16_t w, int8x16_t x) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  return vusdotq_s32(vdupq_n_s32(0), w, x);
#else
  const int32x4_t of_zeros = vshlq_n_s32(vdotq_s32(vdupq_n_s32(0), x, vdupq_n_s8(64)), 1);  // of the same x once
  return vdotq_s32(of_zeros, vreinterpretq_s8_u8(veorq_u8(w, vdupq_n_u8(128))), x);
#endif
}

// The same of 4-bit weights.
inline int32x4_t dot(uint8x16_t w, int8x16_t even, int8x16_t odd) {
  const int32x4_t dots = vdotq_s32(vdupq_n_s32(0), vreinterpretq_s8_u8(vandq_u8(w, vdupq_n_u8(15))), even);
  return vdotq_s32(dots, vreinterpretq_s8_u8(vshrq_n_u8(w, 4)), odd);
}

// Of each quarter of the lanes one value: products read them where they are.
struct ByQuarter {
  float32x4_t values;
};

// Of b, whose quarters have one value each, too.
inline ByQuarter operator*(const ByQuarter& a, const Floats& b) {
  const auto firsts = [](float32x4_t x, float32x4_t y) { return vreinterpretq_f64_f32(vzip1q_f32(x, y)); };
  const float64x2_t values = vzip1q_f64(firsts(b.q[0], b.q[1]), firsts(b.q[2], b.q[3]));
  return {vmulq_f32(a.values, vreinterpretq_f32_f64(values))};
}
inline Floats fma(const Floats& a, const ByQuarter& b, const Floats& c) {
  return {{vfmaq_laneq_f32(c.q[0], a.q[0], b.values, 0), vfmaq_laneq_f32(c.q[1], a.q[1], b.values, 1),
           vfmaq_laneq_f32(c.q[2], a.q[2], b.values, 2), vfmaq_laneq_f32(c.q[3], a.q[3], b.values, 3)}};
}

// See `lanes::Blockwise`.
struct BlockLanes {
  static constexpr size_t kRowsAtOnce = 2;

  static Ints dot8(const uint8_t* w, const uint8_t* x) {
    return of_quarters<Ints>([&](size_t i) { return dot(vld1q_u8(w + 16 * i), signed_bytes(x + 16 * i)); });
  }
  static Ints dot4(const uint8_t* w, const uint8_t* even, const uint8_t* odd) {
    return of_quarters<Ints>(
        [&](size_t i) { return dot(vld1q_u8(w + 16 * i), signed_bytes(even + 16 * i), signed_bytes(odd + 16 * i)); });
  }
  // Each of `held` scales in as many lanes.
  template <size_t kInBlock>
  static auto spread(const float* scale, size_t held) {
    constexpr size_t kScales = kLanes / kInBlock;
    float some[kScales] = {};
    if (held < kScales) {
      std::copy_n(scale, held, some);
      scale = some;
    }
    if constexpr (kInBlock == 4) {
      return ByQuarter{vld1q_f32(scale)};
    } else {
      return of_quarters<Floats>([&](size_t i) {
        if constexpr (kInBlock > 4) return vdupq_n_f32(scale[4 * i / kInBlock]);
        const float32x2_t two = vld1_f32(scale + 2 * i);
        return vcombine_f32(vdup_lane_f32(two, 0), vdup_lane_f32(two, 1));
      });
    }
  }
};

inline void begin(size_t) {}
inline void end() {}

}  // namespace rrwkv::neon::RRWKV_DOTS
