// Sixteen values at a time. Exponentials have the bits of onnxruntime's own kernels where their processor has AVX-512.
// Compile without contraction of products and sums (-ffp-contract=off): where one is fused, it is written so.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace rrwkv::avx512 {

constexpr size_t kLanes = 16;

inline __mmask16 lanes(size_t left) { return left >= kLanes ? 0xffff : static_cast<__mmask16>((1u << left) - 1); }

// Of so many that are left, which of the second sixteen there are.
inline __mmask16 lanes_after(size_t left) { return left > kLanes ? lanes(left - kLanes) : 0; }

// Four bytes, in every lane.
inline __m512i four_bytes(const uint8_t* x) {
  int32_t four;
  std::memcpy(&four, x, sizeof four);
  return _mm512_set1_epi32(four);
}

// exp(x): x = m log 2 + r, a polynomial of r times 2^m; the constants are those of MLAS (compute.cpp), which names
// njuffa's as their source.
inline __m512 exponential(__m512 x) {
  const __m512 rounding = _mm512_set1_ps(0x1.8p23f);
  x = _mm512_max_ps(_mm512_set1_ps(-103.9720840454f), x);
  x = _mm512_min_ps(_mm512_set1_ps(88.7762626647950f), x);
  const __m512 m = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(1.44269504088896341f), rounding), rounding);
  x = _mm512_fmadd_ps(m, _mm512_set1_ps(-6.93145752e-1f), x);
  x = _mm512_fmadd_ps(m, _mm512_set1_ps(-1.42860677e-6f), x);
  __m512 p = _mm512_set1_ps(0x1.694000p-10f);
  for (float c : {0x1.125edcp-7f, 0x1.555b5ap-5f, 0x1.555450p-3f, 0x1.fffff6p-2f, 1.0f, 1.0f})
    p = _mm512_fmadd_ps(p, x, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, m);
}

// σ(x) = 1/2 + x P(x²) / Q(x²); the constants are those of MLAS (logistic.cpp), which names Eigen as their source.
inline __m512 sigmoid(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-18.0f), x);
  x = _mm512_min_ps(_mm512_set1_ps(18.0f), x);
  const __m512 square = _mm512_mul_ps(x, x);
  __m512 p = _mm512_set1_ps(4.37031012579801e-11f), q = _mm512_set1_ps(6.10247389755681e-13f);
  for (float c : {1.15627324459942e-07f, 6.08574864600143e-05f, 8.51377133304701e-03f, 2.48287947061529e-01f})
    p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(c));
  for (float c : {5.76102136993427e-09f, 6.29106785017040e-06f, 1.70198817374094e-03f, 1.16817656904453e-01f,
                  9.93151921023180e-01f})
    q = _mm512_fmadd_ps(q, square, _mm512_set1_ps(c));
  const __m512 y = _mm512_add_ps(_mm512_div_ps(_mm512_mul_ps(p, x), q), _mm512_set1_ps(0.5f));
  return _mm512_min_ps(_mm512_max_ps(y, _mm512_setzero_ps()), _mm512_set1_ps(1.0f));
}

}  // namespace rrwkv::avx512
