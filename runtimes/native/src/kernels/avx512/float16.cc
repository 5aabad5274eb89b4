#include "kernels/avx512/float16.h"

#include <algorithm>
#include <cstring>

#include "kernels/avx512/float_rows.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv {
namespace {

constexpr size_t kLine = 32;  // columns in a line of memory
constexpr size_t kWide = 64;  // columns at a time: four vectors of sums
constexpr size_t kDeep = 16;  // rows at a time while the sums stay in registers, and rows fetched ahead

__m512 floats(const uint16_t* halves) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
}

__m512 floats(const uint16_t* halves, __mmask16 mask) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, halves));
}

}  // namespace

Span Float16::columns(size_t part, size_t parts) const { return part_of(part, parts, outputs, kLine); }

MemoryRange Float16::start(size_t part, size_t parts) const {
  const auto [begin, end] = columns(part, parts);
  const size_t size = sizeof *weight_;
  return {reinterpret_cast<const char*>(weight_ + begin), (end - begin) * size, inputs, outputs * size};
}

void Float16::quantize(const float* x, QuantizedActivations& quantized) const {
  std::memcpy(quantized.values.of(inputs), x, inputs * sizeof *x);
}

// Some rows at a time, over all columns: so memory is read as it lies.
void Float16::multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after, float* y) const {
  const auto [begin, end] = columns(part, parts);
  std::fill(y + begin, y + end, 0.0f);
  Fetch next(after, kDeep * (end - begin) * sizeof *weight_);
  for (size_t k = 0; k < inputs; k += kDeep) {
    const size_t stop = std::min(k + kDeep, inputs);
    const bool last = stop == inputs;
    size_t n = begin;
    for (; n + kWide <= end; n += kWide) add_wide(x.values.data(), k, stop, n, last ? &next : nullptr, y);
    for (; n < end; n += kLanes) {
      const __mmask16 mask = lanes(end - n);
      __m512 sum = _mm512_maskz_loadu_ps(mask, y + n);
      for (size_t r = k; r < stop; ++r)
        sum = _mm512_fmadd_ps(_mm512_set1_ps(x.values.data()[r]), floats(weight_ + r * outputs + n, mask), sum);
      _mm512_mask_storeu_ps(y + n, mask, sum);
    }
  }
}

// 64 columns of some rows. next: what is fetched instead of the rows that follow.
inline void Float16::add_wide(const float* x, size_t row, size_t end, size_t column, Fetch* next, float* y) const {
  constexpr size_t kVectors = kWide / kLanes;
  __m512 sums[kVectors];
  for (size_t i = 0; i < kVectors; ++i) sums[i] = _mm512_loadu_ps(y + column + kLanes * i);
  for (; row < end; ++row) {
    const uint16_t* weights = weight_ + row * outputs + column;
    const auto* ahead = reinterpret_cast<const char*>(weights + kDeep * outputs);
    for (size_t line = 0; line < kWide / kLine; ++line)
      next ? void(next->line<Cache::kFirst>()) : _mm_prefetch(ahead + 64 * line, _MM_HINT_T0);
    const __m512 value = _mm512_set1_ps(x[row]);
    for (size_t i = 0; i < kVectors; ++i) sums[i] = _mm512_fmadd_ps(value, floats(weights + kLanes * i), sums[i]);
  }
  for (size_t i = 0; i < kVectors; ++i) _mm512_storeu_ps(y + column + kLanes * i, sums[i]);
}

void Float16::quantize_rows(const float* x, size_t rows, QuantizedActivations& quantized,
                            const Threads& threads) const {
  pack_float_rows(x, rows, inputs, quantized, threads);
}

void Float16::multiply_rows(QuantizedActivations& x, size_t rows, bool, const Threads& threads, float* y) const {
  const auto unpack = [this](size_t n, float* left, float* right) {
    const __mmask16 masks[] = {lanes(outputs - n), lanes_after(outputs - n)};
    for (size_t k = 0; k < inputs; ++k) {
      const uint16_t* row = weight_ + k * outputs + n;
      _mm_prefetch(reinterpret_cast<const char*>(row + kDeep * outputs), _MM_HINT_T0);
      _mm512_storeu_ps(left + kLanes * k, floats(row, masks[0]));
      _mm512_storeu_ps(right + kLanes * k, floats(row + kLanes, masks[1]));
    }
  };
  multiply_float_rows(x, rows, *this, inputs, threads, unpack, y);
}

}  // namespace rrwkv
