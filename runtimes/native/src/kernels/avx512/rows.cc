#include <cmath>

#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv::avx512 {
namespace {

float halved(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// LayerNorm of a row of n: the mean is summed in double, the variance about it in eight lanes.
void normalize(const float* x, const float* gain, const float* bias, float epsilon, size_t n, float* y) {
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

void mix(const Mix& x, const Mix& of, size_t n, float* y) {
  for (size_t i = 0; i < n; ++i) y[i] = x.now[i] * of.now[i] + x.before[i] * of.before[i];
  if (x.recalled)
    for (size_t i = 0; i < n; ++i) y[i] += x.recalled[i] * of.recalled[i];
}

void add(const float* x, size_t n, float* y) {
  for (size_t i = 0; i < n; ++i) y[i] += x[i];
}

void add_scaled(float by, const float* x, size_t n, float* y) {
  for (size_t i = 0; i < n; ++i) y[i] += by * x[i];
}

void square_relu(size_t n, float* x) {
  for (size_t i = 0; i < n; ++i) x[i] = x[i] > 0 ? x[i] * x[i] : 0;
}

void gate(const float* r, const float* v, size_t n, float* y) {
  for (size_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = lanes(n - i);
    const __m512 opened = sigmoid(_mm512_maskz_loadu_ps(mask, r + i));
    _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(opened, _mm512_maskz_loadu_ps(mask, v + i)));
  }
}

void add_gated(const float* x, const float* r, const float* v, size_t n, float* y) {
  for (size_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = lanes(n - i);
    const auto load = [mask, i](const float* from) { return _mm512_maskz_loadu_ps(mask, from + i); };
    _mm512_mask_storeu_ps(y + i, mask, _mm512_add_ps(load(x), _mm512_mul_ps(sigmoid(load(r)), load(v))));
  }
}

void exponentials(float least, float most, size_t n, float* x) {
  for (size_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = lanes(n - i);
    __m512 value = _mm512_max_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(least));
    value = _mm512_min_ps(value, _mm512_set1_ps(most));
    _mm512_mask_storeu_ps(x + i, mask, exponential(value));
  }
}

}  // namespace

const RowKernels kRowKernels = {normalize, mix, add, add_scaled, square_relu, gate, add_gated, exponentials, wkv_row};

}  // namespace rrwkv::avx512
