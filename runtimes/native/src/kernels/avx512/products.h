// Products of whole numbers of one row.
#pragma once

#include "kernels/avx512/shuffle.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv::avx512 {

// Four bytes, in every lane.
inline __m512i four_bytes(const uint8_t* x) {
  int32_t four;
  std::memcpy(&four, x, sizeof four);
  return _mm512_set1_epi32(four);
}

// See `lanes::accumulate`.
struct Fours {
  static constexpr size_t kColumns = 64;

  struct Factors {
    explicit Factors(const uint8_t bytes[4]) : x(four_bytes(bytes)) {}
    __m512i x;
  };

  // See `interleave` for the order of the sums.
  static void add(const int8_t* row, size_t apart, const Factors& factors, int32_t* sums) {
    const __m512i rows[4] = {_mm512_loadu_si512(row), _mm512_loadu_si512(row + apart),
                             _mm512_loadu_si512(row + 2 * apart), _mm512_loadu_si512(row + 3 * apart)};
    __m512i four[4];
    interleave(rows, four);
    for (size_t i = 0; i < 4; ++i)
      _mm512_storeu_si512(sums + 16 * i, _mm512_dpbusd_epi32(_mm512_loadu_si512(sums + 16 * i), factors.x, four[i]));
  }
  static void put_in_order(int32_t* sums) {
    __m512i s[4];
    for (size_t i = 0; i < 4; ++i) s[i] = _mm512_loadu_si512(sums + 16 * i);
    in_order(s);
    for (size_t i = 0; i < 4; ++i) _mm512_storeu_si512(sums + 16 * i, s[i]);
  }
  static int32_t value(uint8_t x) { return x; }
};

// See `lanes::Blockwise`.
struct BlockLanes {
  static constexpr size_t kRowsAtOnce = 4;

  static Ints dot8(const uint8_t* w, const uint8_t* x) {
    return {_mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_loadu_si512(w), _mm512_loadu_si512(x))};
  }
  static Ints dot4(const uint8_t* w, const uint8_t* even, const uint8_t* odd) {
    const __m512i mask = _mm512_set1_epi8(15), packed = _mm512_loadu_si512(w);
    const __m512i low = _mm512_and_si512(packed, mask), high = _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask);
    const __m512i dots = _mm512_dpbusd_epi32(_mm512_setzero_si512(), low, _mm512_loadu_si512(even));
    return {_mm512_dpbusd_epi32(dots, high, _mm512_loadu_si512(odd))};
  }
  // Each of `held` scales in as many lanes.
  template <size_t kInBlock>
  static Floats spread(const float* scale, size_t held) {
    if constexpr (kInBlock == kLanes) return Floats::all(*scale);
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i which = _mm512_srli_epi32(lane, static_cast<unsigned>(__builtin_ctzll(kInBlock)));
    return {_mm512_permutexvar_ps(which, _mm512_maskz_loadu_ps(first(held), scale))};
  }
};

}  // namespace rrwkv::avx512
