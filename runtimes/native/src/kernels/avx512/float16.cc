#include <algorithm>

#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv::avx512 {
namespace {

constexpr size_t kHalves = 32;  // columns in a line of memory
constexpr size_t kWide = 64;    // columns at a time: four vectors of sums
constexpr size_t kDeep = 16;    // rows at a time while the sums stay in registers, and rows fetched ahead

__m512 floats(const uint16_t* halves) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
}

__m512 floats(const uint16_t* halves, __mmask16 mask) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, halves));
}

// 64 columns of some rows. next: what is fetched instead of the rows that follow.
inline void add_wide(const Float16Weights& w, const float* x, size_t row, size_t end, size_t column, Fetch* next,
                     float* y) {
  constexpr size_t kVectors = kWide / kLanes;
  __m512 sums[kVectors];
  for (size_t i = 0; i < kVectors; ++i) sums[i] = _mm512_loadu_ps(y + column + kLanes * i);
  for (; row < end; ++row) {
    const uint16_t* weights = w.weight + row * w.outputs + column;
    const auto* ahead = reinterpret_cast<const char*>(weights + kDeep * w.outputs);
    for (size_t line = 0; line < kWide / kHalves; ++line)
      next ? void(next->line<Cache::kFirst>()) : _mm_prefetch(ahead + 64 * line, _MM_HINT_T0);
    const __m512 value = _mm512_set1_ps(x[row]);
    for (size_t i = 0; i < kVectors; ++i) sums[i] = _mm512_fmadd_ps(value, floats(weights + kLanes * i), sums[i]);
  }
  for (size_t i = 0; i < kVectors; ++i) _mm512_storeu_ps(y + column + kLanes * i, sums[i]);
}

// Some rows at a time, over all columns: so memory is read as it lies.
void multiply(const Float16Weights& w, const float* x, Span outputs, const MemoryRange& after, float* y) {
  const auto [begin, end] = outputs;
  std::fill(y + begin, y + end, 0.0f);
  Fetch next(after, kDeep * (end - begin) * sizeof *w.weight);
  for (size_t k = 0; k < w.inputs; k += kDeep) {
    const size_t stop = std::min(k + kDeep, w.inputs);
    const bool last = stop == w.inputs;
    size_t n = begin;
    for (; n + kWide <= end; n += kWide) add_wide(w, x, k, stop, n, last ? &next : nullptr, y);
    for (; n < end; n += kLanes) {
      const __mmask16 mask = lanes(end - n);
      __m512 sum = _mm512_maskz_loadu_ps(mask, y + n);
      for (size_t r = k; r < stop; ++r)
        sum = _mm512_fmadd_ps(_mm512_set1_ps(x[r]), floats(w.weight + r * w.outputs + n, mask), sum);
      _mm512_mask_storeu_ps(y + n, mask, sum);
    }
  }
}

void unpack(const Float16Weights& w, size_t output, float* left, float* right) {
  const __mmask16 first = lanes(w.outputs - output), second = lanes_after(w.outputs - output);
  for (size_t k = 0; k < w.inputs; ++k) {
    const uint16_t* row = w.weight + k * w.outputs + output;
    _mm_prefetch(reinterpret_cast<const char*>(row + kDeep * w.outputs), _MM_HINT_T0);
    _mm512_storeu_ps(left + kLanes * k, floats(row, first));
    _mm512_storeu_ps(right + kLanes * k, floats(row + kLanes, second));
  }
}

}  // namespace

const Float16Kernels kFloat16Kernels = {multiply, unpack};

}  // namespace rrwkv::avx512
