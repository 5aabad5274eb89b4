// Sixteen lanes as two vectors of AVX2, with FMA and F16C.
//
// All of this folder is compiled twice, with AVX-VNNI and without: in a namespace of its own each, as RRWKV_DOTS says,
// so that no function of the one is taken for the other's.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/lanes/each.h"

namespace rrwkv::avx2::RRWKV_DOTS {

using lanes::kLanes;

constexpr size_t kHalf = 8;

// Of so many that are left, which of eight there are.
inline __m256i mask_of(size_t left) {
  alignas(64) static constexpr int32_t kMasks[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks + kHalf - (left < kHalf ? left : kHalf)));
}
inline size_t after_half(size_t left) { return left > kHalf ? left - kHalf : 0; }

inline __m256i load256(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline __m128i load128(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
inline void store256(void* to, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(to), v); }

// Sixteen floats as bits of whole numbers.
struct Ints {
  __m256i low, high;

  static Ints all(int32_t value) { return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)}; }
  static Ints load(const int32_t* from) { return {load256(from), load256(from + kHalf)}; }
  static Ints load(const int32_t* from, size_t left) {
    return {_mm256_maskload_epi32(from, mask_of(left)),
            _mm256_maskload_epi32(from + (left > kHalf ? kHalf : 0), mask_of(after_half(left)))};
  }
  void store(int32_t* to) const {
    store256(to, low);
    store256(to + kHalf, high);
  }
  // The lowest byte, or the lower two, of each; each of what is stored must fit in them, signed or not.
  void store_bytes(uint8_t* to, size_t left) const {
    const __m256i byte = _mm256_set1_epi32(255),
                  words = pack_words(_mm256_and_si256(low, byte), _mm256_and_si256(high, byte));
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    store_some(to, &bytes, left);
  }
  void store_words(uint16_t* to, size_t left) const {
    const __m256i word = _mm256_set1_epi32(0xffff),
                  words = pack_words(_mm256_and_si256(low, word), _mm256_and_si256(high, word));
    store_some(to, &words, left);
  }

 private:
  static __m256i pack_words(__m256i a, __m256i b) { return _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8); }
  template <typename Value, typename Vector>
  static void store_some(Value* to, const Vector* from, size_t left) {
    if (left >= kLanes) return void(std::memcpy(to, from, sizeof *from));
    std::memcpy(to, from, left * sizeof *to);
  }
};

struct Floats {
  __m256 low, high;

  static Floats all(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  static Floats load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + kHalf)}; }
  static Floats load(const float* from, size_t left) {
    if (left >= kLanes) return load(from);
    return {_mm256_maskload_ps(from, mask_of(left)),
            _mm256_maskload_ps(from + (left > kHalf ? kHalf : 0), mask_of(after_half(left)))};
  }
  // Values that are a stride apart.
  static Floats gather(const float* from, size_t stride, size_t left) {
    float v[kLanes] = {};
    for (size_t i = 0; i < left; ++i) v[i] = from[i * stride];
    return load(v);
  }
  static Floats of_bytes(const uint8_t* from) {
    const auto eight = [](const uint8_t* bytes) {
      return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))));
    };
    return {eight(from), eight(from + kHalf)};
  }
  static Floats of_halves(const uint16_t* from) {
    return {_mm256_cvtph_ps(load128(from)), _mm256_cvtph_ps(load128(from + kHalf))};
  }
  static Floats of_halves(const uint16_t* from, size_t left) {
    if (left >= kLanes) return of_halves(from);
    uint16_t v[kLanes] = {};
    std::memcpy(v, from, left * sizeof *from);
    return of_halves(v);
  }
  void store(float* to) const {
    _mm256_storeu_ps(to, low);
    _mm256_storeu_ps(to + kHalf, high);
  }
  void store(float* to, size_t left) const {
    if (left >= kLanes) return store(to);
    _mm256_maskstore_ps(to, mask_of(left), low);
    if (left > kHalf) _mm256_maskstore_ps(to + kHalf, mask_of(left - kHalf), high);
  }
};

inline Floats operator+(Floats a, Floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Floats operator-(Floats a, Floats b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Floats operator*(Floats a, Floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Floats operator/(Floats a, Floats b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
// Of what is no number, the second.
inline Floats max(Floats a, Floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Floats min(Floats a, Floats b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline Floats abs(Floats a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}
inline Floats fma(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

// p · 2^m, m a whole number from -256 to 254: in two steps, of which the first is exact.
inline __m256 times_power_of_two(__m256 p, __m256 m) {
  const __m256i all = _mm256_cvtps_epi32(m), half = _mm256_srai_epi32(all, 1), rest = _mm256_sub_epi32(all, half);
  const auto power = [](__m256i of) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(of, _mm256_set1_epi32(127)), 23));
  };
  return _mm256_mul_ps(_mm256_mul_ps(p, power(half)), power(rest));
}
inline Floats times_power_of_two(Floats p, Floats m) {
  return {times_power_of_two(p.low, m.low), times_power_of_two(p.high, m.high)};
}

inline Ints operator+(Ints a, Ints b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
inline Ints operator-(Ints a, Ints b) { return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)}; }
inline Ints operator*(Ints a, Ints b) { return {_mm256_mullo_epi32(a.low, b.low), _mm256_mullo_epi32(a.high, b.high)}; }
inline Floats floats_of(Ints a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
// To the nearest, ties to even; the least there is where there is none.
inline Ints rounded(Floats a) { return {_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)}; }

// The eight last are added to the eight first, and so on.
template <typename Action>
float folded(__m256 eight, const Action& action) {
  __m128 v = action(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  v = action(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(action(v, _mm_movehdup_ps(v)));
}
inline float sum(Floats a) {
  return folded(_mm256_add_ps(a.low, a.high), [](__m128 x, __m128 y) { return _mm_add_ps(x, y); });
}
inline float largest(Floats a) {
  return folded(_mm256_max_ps(a.low, a.high), [](__m128 x, __m128 y) { return _mm_max_ps(x, y); });
}
inline float least(Floats a) {
  return folded(_mm256_min_ps(a.low, a.high), [](__m128 x, __m128 y) { return _mm_min_ps(x, y); });
}
inline int32_t sum(Ints a) {
  const __m256i eight = _mm256_add_epi32(a.low, a.high);
  __m128i v = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
}

}  // namespace rrwkv::avx2::RRWKV_DOTS
