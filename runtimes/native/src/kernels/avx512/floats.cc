#include <algorithm>
#include <cmath>

#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv::avx512 {
namespace {

constexpr size_t kStride = 128;  // onnxruntime's products sum so many rows, and then these sums
constexpr size_t kAtOnce = 4;    // vectors of sums that need not wait for each other

// y [n] = Σ_k x[k] rows[k] (n values of them, a stride apart): fused, k after k, in onnxruntime's order.
void sum_rows(const float* x, const float* rows, size_t count, size_t stride, size_t n, float* y) {
  for (size_t from = 0; from < n; from += kAtOnce * kLanes) {
    __m512 totals[kAtOnce];
    __mmask16 masks[kAtOnce];
    for (size_t i = 0; i < kAtOnce; ++i) {
      totals[i] = _mm512_setzero_ps();
      masks[i] = from + i * kLanes < n ? lanes(n - from - i * kLanes) : 0;
    }
    for (size_t first = 0; first < count; first += kStride) {
      __m512 sums[kAtOnce];
      for (__m512& sum : sums) sum = _mm512_setzero_ps();
      for (size_t k = first; k < std::min(first + kStride, count); ++k) {
        const float* row = rows + k * stride + from;
        const __m512 factor = _mm512_set1_ps(x[k]);
        for (size_t i = 0; i < kAtOnce; ++i)
          sums[i] = _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(masks[i], row + i * kLanes), sums[i]);
      }
      for (size_t i = 0; i < kAtOnce; ++i) totals[i] = first ? _mm512_add_ps(sums[i], totals[i]) : sums[i];
    }
    for (size_t i = 0; i < kAtOnce; ++i) _mm512_mask_storeu_ps(y + from + i * kLanes, masks[i], totals[i]);
  }
}

float dot(const float* a, const float* b, size_t n, size_t stride) {
  float total = 0;
  for (size_t first = 0; first < n; first += stride) {
    float sum = 0;
    for (size_t i = first; i < std::min(first + stride, n); ++i) sum = std::fma(a[i], b[i], sum);
    total = first ? sum + total : sum;
  }
  return total;
}

// y [count] = rows [count, n] times x, fused, `stride` after `stride`.
void multiply_rows(const float* x, const float* rows, size_t count, size_t n, size_t stride, float* y) {
  if (count == 1) return void(*y = dot(x, rows, n, stride));
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i offset = _mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int>(n)));
  for (size_t k = 0; k < count; k += kLanes) {
    const __mmask16 mask = lanes(count - k);
    __m512 total = _mm512_setzero_ps();
    for (size_t first = 0; first < n; first += stride) {
      __m512 sum = _mm512_setzero_ps();
      for (size_t i = first; i < std::min(first + stride, n); ++i) {
        const __m512 column = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, offset, rows + k * n + i, 4);
        sum = _mm512_fmadd_ps(_mm512_set1_ps(x[i]), column, sum);
      }
      total = first ? _mm512_add_ps(sum, total) : sum;
    }
    _mm512_mask_storeu_ps(y + k, mask, total);
  }
}

void pack(const float* x, size_t rows, size_t inputs, float* packed) {
  for (size_t k = 0; k < inputs; ++k)
    for (size_t t = 0; t < kFloatRows; ++t) packed[k * kFloatRows + t] = t < rows ? x[t * inputs + k] : 0.0f;
}

void multiply_panel(const float* packed, size_t inputs, const float* panel, size_t apart, const Target& to) {
  __m512 sums[kFloatRows][2];
  for (auto& sum : sums) sum[0] = sum[1] = _mm512_setzero_ps();
  for (size_t k = 0; k < inputs; ++k) {
    const __m512 left = _mm512_loadu_ps(panel + kLanes * k), right = _mm512_loadu_ps(panel + apart + kLanes * k);
    for (size_t t = 0; t < kFloatRows; ++t) {
      const __m512 value = _mm512_set1_ps(packed[k * kFloatRows + t]);
      sums[t][0] = _mm512_fmadd_ps(value, left, sums[t][0]);
      sums[t][1] = _mm512_fmadd_ps(value, right, sums[t][1]);
    }
  }
  const __mmask16 first = lanes(to.columns), second = lanes_after(to.columns);
  for (size_t t = 0; t < kFloatRows; ++t) {
    if (t == to.rows) return;
    _mm512_mask_storeu_ps(to.y + t * to.stride, first, sums[t][0]);
    _mm512_mask_storeu_ps(to.y + t * to.stride + kLanes, second, sums[t][1]);
  }
}

}  // namespace

const FloatKernels kFloatKernels = {sum_rows, multiply_rows, pack, multiply_panel};

}  // namespace rrwkv::avx512
