// Functions of single rows, with the bits of onnxruntime's own kernels where their processor has AVX-512: a token run
// by these kernels and the same token in a longer run by onnxruntime give the same logits. Compile without contraction
// of products and sums (-ffp-contract=off): where one is fused, it is written so.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace rrwkv {

constexpr size_t kLanes = 16;

inline __mmask16 lanes(size_t left) { return left >= kLanes ? 0xffff : static_cast<__mmask16>((1u << left) - 1); }

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

inline float halved(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// LayerNorm of a row of n: the mean is summed in double, the variance about it in eight lanes.
inline void normalize(const float* x, const float* gain, const float* bias, float epsilon, size_t n, float* y) {
  __m512d sums = _mm512_setzero_pd();
  const size_t whole = n / 8 * 8;
  for (size_t i = 0; i < whole; i += 8) sums = _mm512_add_pd(sums, _mm512_cvtps_pd(_mm256_loadu_ps(x + i)));
  double sum = _mm512_reduce_add_pd(sums);
  for (size_t i = whole; i < n; ++i) sum += x[i];
  const float mean = static_cast<float>(sum / static_cast<double>(n));

  const __m256 means = _mm256_set1_ps(mean);
  __m256 lanes_squared = _mm256_setzero_ps();
  for (size_t i = 0; i < whole; i += 8) {
    const __m256 d = _mm256_sub_ps(_mm256_loadu_ps(x + i), means);
    lanes_squared = _mm256_fmadd_ps(d, d, lanes_squared);
  }
  float squares = halved(lanes_squared);
  for (size_t i = whole; i < n; ++i) squares = std::fma(x[i] - mean, x[i] - mean, squares);
  const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(n) + epsilon);

  const __m512 all_means = _mm512_set1_ps(mean), inverses = _mm512_set1_ps(inverse);
  for (size_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = lanes(n - i);
    const __m512 d = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), all_means), inverses);
    const __m512 v = _mm512_fmadd_ps(d, _mm512_maskz_loadu_ps(mask, gain + i), _mm512_maskz_loadu_ps(mask, bias + i));
    _mm512_mask_storeu_ps(y + i, mask, v);
  }
}

// round(x / scale) + zero, within 0 .. 255, of a row of n.
inline void quantize_uint8(const float* x, float scale, int zero, size_t n, uint8_t* y) {
  const __m512 by = _mm512_set1_ps(scale);
  const __m512 least = _mm512_set1_ps(static_cast<float>(-zero)), most = _mm512_set1_ps(static_cast<float>(255 - zero));
  for (size_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = lanes(n - i);
    __m512 v = _mm512_div_ps(_mm512_maskz_loadu_ps(mask, x + i), by);
    v = _mm512_min_ps(_mm512_max_ps(v, least), most);
    const __m512i whole = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(zero));
    _mm512_mask_cvtepi32_storeu_epi8(y + i, mask, whole);
  }
}

}  // namespace rrwkv
