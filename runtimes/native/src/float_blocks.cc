#include <algorithm>
#include <atomic>
#include <cstring>
#include <type_traits>

#include "block_rows.h"
#include "blocks.h"
#include "vectors.h"

namespace rrwkv {

FloatBlocks::FloatBlocks(const uint8_t* weight, size_t inputs, size_t outputs, size_t block, const float* scale)
    : weight_(weight),
      scale_(scale),
      block_(block),
      blocks_((inputs + block - 1) / block),
      row_bytes_(blocks_ * block) {
  this->inputs = inputs;
  this->outputs = outputs;
}

void FloatBlocks::round_row(const float* x, float* values, float* zeros) const {
  std::memset(values, 0, row_bytes_ * sizeof *values);
  std::memcpy(values, x, inputs * sizeof *values);
  for (size_t b = 0; b < blocks_; ++b) {
    __m512 sum = _mm512_setzero_ps();
    for (size_t i = b * block_; i < (b + 1) * block_; i += kLanes)
      sum = _mm512_add_ps(sum, _mm512_loadu_ps(values + i));
    zeros[b] = -128.0f * _mm512_reduce_add_ps(sum);
  }
}

void FloatBlocks::round(const float* x, Rounded& rounded) const {
  round_row(x, rounded.values.of(row_bytes_), rounded.zeros.of(blocks_));
}

// y[t][first] … of several rows of weights and of activations: the same sums in the same order for each.
template <size_t kRows, size_t kTokens>
void FloatBlocks::rows(const float* values, const float* zeros, size_t first, const char* ahead, float* y) const {
  const uint8_t* weight = weight_ + first * row_bytes_;
  const float* scale = scale_ + first * blocks_;
  __m512 totals[kRows][kTokens];
  for (auto& row : totals)
    for (__m512& total : row) total = _mm512_setzero_ps();
  for (size_t b = 0; b < blocks_; ++b) {
    __m512 sums[kRows][kTokens];
    for (auto& row : sums)
      for (__m512& sum : row) sum = _mm512_setzero_ps();
    for (size_t k = b * block_; k < (b + 1) * block_; k += kLanes) {
      __m512 x[kTokens];
      for (size_t t = 0; t < kTokens; ++t) x[t] = _mm512_loadu_ps(values + t * row_bytes_ + k);
      for (size_t i = 0; i < kRows; ++i) {
        if (k % 64 == 0) _mm_prefetch(ahead + i * row_bytes_ + k, _MM_HINT_T0);
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(weight + i * row_bytes_ + k));
        const __m512 w = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
        for (size_t t = 0; t < kTokens; ++t) sums[i][t] = _mm512_fmadd_ps(w, x[t], sums[i][t]);
      }
    }
    for (size_t i = 0; i < kRows; ++i)
      for (size_t t = 0; t < kTokens; ++t)
        totals[i][t] = _mm512_fmadd_ps(sums[i][t], _mm512_set1_ps(scale[i * blocks_ + b]), totals[i][t]);
  }
  for (size_t t = 0; t < kTokens; ++t) {
    for (size_t i = 0; i < kRows; ++i) {
      float zero = 0;
      for (size_t b = 0; b < blocks_; ++b) zero += scale[i * blocks_ + b] * zeros[t * blocks_ + b];
      y[t * outputs + first + i] = _mm512_reduce_add_ps(totals[i][t]) + zero;
    }
  }
}

void FloatBlocks::multiply(Rounded& x, size_t part, size_t parts, const void* after, float* y) const {
  const size_t begin = outputs * part / parts, end = outputs * (part + 1) / parts;
  const float *values = x.values.data(), *zeros = x.zeros.data();
  const auto several = [&](size_t i, const char* ahead) { rows<kRowsAtOnce, 1>(values, zeros, i, ahead, y); };
  const auto one = [&](size_t i, const char* ahead) { rows<1, 1>(values, zeros, i, ahead, y); };
  for_rows(begin, end, weight_, row_bytes_, after, several, one);
}

void FloatBlocks::round_rows(const float* x, size_t rows, Rounded& rounded, const Threads& threads) const {
  float *values = rounded.values.of(rows * row_bytes_), *zeros = rounded.zeros.of(rows * blocks_);
  threads.share(threads.count, [&](size_t i) {
    for (size_t t = rows * i / threads.count; t < rows * (i + 1) / threads.count; ++t)
      round_row(x + t * inputs, values + t * row_bytes_, zeros + t * blocks_);
  });
}

void FloatBlocks::multiply_rows(Rounded& x, size_t rows, bool, const Threads& threads, float* y) const {
  constexpr size_t kTokens = 4, kOutputs = 16;
  std::atomic<size_t> taken{0};
  threads.share(threads.count, [&](size_t) {
    for (size_t begin = taken.fetch_add(kOutputs); begin < outputs; begin = taken.fetch_add(kOutputs)) {
      const auto of_tokens = [&](size_t t, auto count) {
        constexpr size_t kCount = decltype(count)::value;
        const float *values = x.values.data() + t * row_bytes_, *zeros = x.zeros.data() + t * blocks_;
        float* to = y + t * outputs;
        const auto several = [&](size_t i, const char* ahead) {
          this->rows<kRowsAtOnce, kCount>(values, zeros, i, ahead, to);
        };
        const auto one = [&](size_t i, const char* ahead) { this->rows<1, kCount>(values, zeros, i, ahead, to); };
        for_rows(begin, std::min(begin + kOutputs, outputs), weight_, row_bytes_, nullptr, several, one);
      };
      size_t t = 0;
      for (; t + kTokens <= rows; t += kTokens) of_tokens(t, std::integral_constant<size_t, kTokens>());
      for (; t < rows; ++t) of_tokens(t, std::integral_constant<size_t, 1>());
    }
  });
}

}  // namespace rrwkv
