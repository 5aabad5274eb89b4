#include <algorithm>

#include "kernels/avx512/avx512.h"
#include "kernels/avx512/blockwise_rows.h"
#include "kernels/avx512/shuffle.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv::avx512 {
namespace {

void zeros(const BlockwiseWeights& w, const float* x, float* zeros) {
  for (size_t b = 0; b < w.blocks; ++b) {
    __m512 sum = _mm512_setzero_ps();
    for (size_t i = b * w.block; i < (b + 1) * w.block; i += kLanes) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + i));
    zeros[b] = -128.0f * _mm512_reduce_add_ps(sum);
  }
}

template <size_t kRows>
void rows(const BlockwiseWeights& w, const float* x, const float* x_zeros, size_t first, const char* ahead, float* y) {
  const uint8_t* weight = w.weight + first * w.row_bytes;
  const float* scale = w.scale + first * w.blocks;
  __m512 totals[kRows];
  for (size_t i = 0; i < kRows; ++i) totals[i] = _mm512_setzero_ps();
  for (size_t b = 0; b < w.blocks; ++b) {
    __m512 sums[kRows];
    for (size_t i = 0; i < kRows; ++i) sums[i] = _mm512_setzero_ps();
    for (size_t k = b * w.block; k < (b + 1) * w.block; k += kLanes) {
      const __m512 values = _mm512_loadu_ps(x + k);
      for (size_t i = 0; i < kRows; ++i) {
        if (k % 64 == 0) _mm_prefetch(ahead + i * w.row_bytes + k, _MM_HINT_T0);
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(weight + i * w.row_bytes + k));
        sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)), values, sums[i]);
      }
    }
    for (size_t i = 0; i < kRows; ++i)
      totals[i] = _mm512_fmadd_ps(sums[i], _mm512_set1_ps(scale[i * w.blocks + b]), totals[i]);
  }
  for (size_t i = 0; i < kRows; ++i) {
    float zero = 0;
    for (size_t b = 0; b < w.blocks; ++b) zero += scale[i * w.blocks + b] * x_zeros[b];
    y[first + i] = _mm512_reduce_add_ps(totals[i]) + zero;
  }
}

void multiply(const BlockwiseWeights& w, const float* x, const float* x_zeros, Span outputs, const char* after,
              float* y) {
  const auto several = [&](size_t i, const char* ahead) { rows<kRowsAtOnce>(w, x, x_zeros, i, ahead, y); };
  const auto one = [&](size_t i, const char* ahead) { rows<1>(w, x, x_zeros, i, ahead, y); };
  for_rows(outputs.begin, outputs.end, w.weight, w.row_bytes, after, several, one);
}

void unpack(const BlockwiseWeights& w, size_t output, float* weights) {
  for (size_t from = 0; from < w.row_bytes; from += kUnit) {
    __m512i unit[16];
    load_turned(w.weight, w.row_bytes, w.outputs, output, from, unit);
    __m512 scale = _mm512_setzero_ps();
    for (size_t k = from; k < std::min(from + kUnit, w.row_bytes); ++k) {
      if (k % w.block == 0 || k == from) {
        alignas(64) float scales[16];
        scales_of(w, output, k / w.block, scales);
        scale = _mm512_load_ps(scales);
      }
      const __m512i group = _mm512_srlv_epi32(unit[(k - from) / 4], _mm512_set1_epi32(static_cast<int>(k % 4 * 8)));
      const __m512i whole = _mm512_sub_epi32(_mm512_and_si512(group, _mm512_set1_epi32(255)), _mm512_set1_epi32(128));
      _mm512_storeu_ps(weights + 16 * k, _mm512_mul_ps(_mm512_cvtepi32_ps(whole), scale));
    }
  }
}

}  // namespace

const BlockwiseFloatKernels kBlockwiseFloatKernels = {zeros, multiply, unpack};

}  // namespace rrwkv::avx512
