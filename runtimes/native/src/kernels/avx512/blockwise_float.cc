#include <algorithm>
#include <cstring>

#include "kernels/avx512/block_rows.h"
#include "kernels/avx512/blockwise.h"
#include "kernels/avx512/float_rows.h"
#include "kernels/avx512/transpose.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv {

void BlockwiseFloat::quantize(const float* x, QuantizedActivations& quantized) const {
  float* values = quantized.values.of(row_bytes_);
  float* zeros = quantized.zeros.of(blocks_);
  std::memset(values, 0, row_bytes_ * sizeof *values);
  std::memcpy(values, x, inputs * sizeof *values);
  for (size_t b = 0; b < blocks_; ++b) {
    __m512 sum = _mm512_setzero_ps();
    for (size_t i = b * block_; i < (b + 1) * block_; i += kLanes)
      sum = _mm512_add_ps(sum, _mm512_loadu_ps(values + i));
    zeros[b] = -128.0f * _mm512_reduce_add_ps(sum);
  }
}

template <size_t kRows>
void BlockwiseFloat::rows(const QuantizedActivations& x, size_t first, const char* ahead, float* y) const {
  const uint8_t* weight = weight_ + first * row_bytes_;
  const float* scale = scale_ + first * blocks_;
  __m512 totals[kRows];
  for (size_t i = 0; i < kRows; ++i) totals[i] = _mm512_setzero_ps();
  for (size_t b = 0; b < blocks_; ++b) {
    __m512 sums[kRows];
    for (size_t i = 0; i < kRows; ++i) sums[i] = _mm512_setzero_ps();
    for (size_t k = b * block_; k < (b + 1) * block_; k += kLanes) {
      const __m512 values = _mm512_loadu_ps(x.values.data() + k);
      for (size_t i = 0; i < kRows; ++i) {
        if (k % 64 == 0) _mm_prefetch(ahead + i * row_bytes_ + k, _MM_HINT_T0);
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(weight + i * row_bytes_ + k));
        sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)), values, sums[i]);
      }
    }
    for (size_t i = 0; i < kRows; ++i)
      totals[i] = _mm512_fmadd_ps(sums[i], _mm512_set1_ps(scale[i * blocks_ + b]), totals[i]);
  }
  for (size_t i = 0; i < kRows; ++i) {
    float zero = 0;
    for (size_t b = 0; b < blocks_; ++b) zero += scale[i * blocks_ + b] * x.zeros.data()[b];
    y[first + i] = _mm512_reduce_add_ps(totals[i]) + zero;
  }
}

void BlockwiseFloat::multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after,
                              float* y) const {
  const auto [begin, end] = part_of(part, parts, outputs, 1);
  const auto several = [&](size_t i, const char* ahead) { rows<kRowsAtOnce>(x, i, ahead, y); };
  const auto one = [&](size_t i, const char* ahead) { rows<1>(x, i, ahead, y); };
  for_rows(begin, end, weight_, row_bytes_, after.begin, several, one);
}

// Weights of 16 outputs as floats [K, 16]; at the end fewer: the others are the last again, and not used.
void BlockwiseFloat::unpack(size_t output, float* weights) const {
  for (size_t from = 0; from < row_bytes_; from += kUnit) {
    __m512i unit[16];
    load_turned(weight_, row_bytes_, outputs, output, from, unit);
    __m512 scale = _mm512_setzero_ps();
    for (size_t k = from; k < std::min(from + kUnit, row_bytes_); ++k) {
      if (k % block_ == 0 || k == from) {
        alignas(64) float scales[16];
        scales_of(output, k / block_, scales);
        scale = _mm512_load_ps(scales);
      }
      const __m512i group = _mm512_srlv_epi32(unit[(k - from) / 4], _mm512_set1_epi32(static_cast<int>(k % 4 * 8)));
      const __m512i whole = _mm512_sub_epi32(_mm512_and_si512(group, _mm512_set1_epi32(255)), _mm512_set1_epi32(128));
      _mm512_storeu_ps(weights + 16 * k, _mm512_mul_ps(_mm512_cvtepi32_ps(whole), scale));
    }
  }
}

void BlockwiseFloat::quantize_rows(const float* x, size_t rows, QuantizedActivations& quantized,
                                   const Threads& threads) const {
  pack_float_rows(x, rows, inputs, quantized, threads);
}

void BlockwiseFloat::multiply_rows(QuantizedActivations& x, size_t rows, bool, const Threads& threads, float* y) const {
  const auto panel = [this](size_t n, float* left, float* right) {
    unpack(n, left);
    if (n + kLanes < outputs) unpack(n + kLanes, right);
  };
  multiply_float_rows(x, rows, *this, row_bytes_, threads, panel, y);
}

}  // namespace rrwkv
