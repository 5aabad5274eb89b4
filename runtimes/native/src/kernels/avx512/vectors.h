// Sixteen lanes as a vector of AVX-512.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/lanes/each.h"

namespace rrwkv::avx512 {

using lanes::kLanes;

inline __mmask16 first(size_t left) { return left >= kLanes ? 0xffff : static_cast<__mmask16>((1u << left) - 1); }

struct Ints {
  __m512i v;

  static Ints all(int32_t value) { return {_mm512_set1_epi32(value)}; }
  static Ints load(const int32_t* from) { return {_mm512_loadu_si512(from)}; }
  static Ints load(const int32_t* from, size_t left) { return {_mm512_maskz_loadu_epi32(first(left), from)}; }
  // The lowest byte of each.
  void store_bytes(uint8_t* to, size_t left) const { _mm512_mask_cvtepi32_storeu_epi8(to, first(left), v); }
};

struct Floats {
  __m512 v;

  static Floats all(float value) { return {_mm512_set1_ps(value)}; }
  static Floats load(const float* from) { return {_mm512_loadu_ps(from)}; }
  static Floats load(const float* from, size_t left) { return {_mm512_maskz_loadu_ps(first(left), from)}; }
  // Values that are a stride apart.
  static Floats gather(const float* from, size_t stride, size_t left) {
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i offset = _mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int>(stride)));
    return {_mm512_mask_i32gather_ps(_mm512_setzero_ps(), first(left), offset, from, 4)};
  }
  static Floats of_bytes(const uint8_t* from) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))};
  }
  static Floats of_halves(const uint16_t* from) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
  }
  static Floats of_halves(const uint16_t* from, size_t left) {
    return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(left), from))};
  }
  void store(float* to) const { _mm512_storeu_ps(to, v); }
  void store(float* to, size_t left) const { _mm512_mask_storeu_ps(to, first(left), v); }
};

inline Floats operator+(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Floats operator-(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Floats operator*(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Floats operator/(Floats a, Floats b) { return {_mm512_div_ps(a.v, b.v)}; }
// Of what is no number, the second.
inline Floats max(Floats a, Floats b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Floats min(Floats a, Floats b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Floats abs(Floats a) { return {_mm512_abs_ps(a.v)}; }
inline Floats fma(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// p · 2^m, m a whole number.
inline Floats times_power_of_two(Floats p, Floats m) { return {_mm512_scalef_ps(p.v, m.v)}; }

inline Ints operator+(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Ints operator-(Ints a, Ints b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline Ints operator*(Ints a, Ints b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
inline Floats floats_of(Ints a) { return {_mm512_cvtepi32_ps(a.v)}; }
// To the nearest, ties to even; the least there is where there is none.
inline Ints rounded(Floats a) { return {_mm512_cvtps_epi32(a.v)}; }

// The eight last are added to the eight first, and so on.
inline float sum(Floats a) { return _mm512_reduce_add_ps(a.v); }
inline float largest(Floats a) { return _mm512_reduce_max_ps(a.v); }
inline float least(Floats a) { return _mm512_reduce_min_ps(a.v); }
inline int32_t sum(Ints a) { return _mm512_reduce_add_epi32(a.v); }

}  // namespace rrwkv::avx512
