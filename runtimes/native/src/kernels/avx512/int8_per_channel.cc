#include <algorithm>
#include <cstring>

#include "kernels/avx512/avx512.h"
#include "kernels/avx512/shuffle.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv::avx512 {
namespace {

constexpr size_t kWide = 64;  // columns at a time: four vectors of sums
constexpr size_t kDeep = 16;  // rows at a time while the sums stay in registers, and rows fetched ahead

// Four rows of 64 columns times four activations; see `interleave` for the order of the sums.
inline void add_four_rows(const int8_t* w, size_t stride, __m512i x, __m512i sums[4]) {
  const __m512i rows[4] = {_mm512_loadu_si512(w), _mm512_loadu_si512(w + stride), _mm512_loadu_si512(w + 2 * stride),
                           _mm512_loadu_si512(w + 3 * stride)};
  __m512i four[4];
  interleave(rows, four);
  for (size_t i = 0; i < 4; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], x, four[i]);
}

Ends ends(const float* x, size_t n) {
  __m512 lowest = _mm512_setzero_ps(), highest = _mm512_setzero_ps();
  for (size_t i = 0; i < n; i += kLanes) {
    const __m512 v = _mm512_maskz_loadu_ps(lanes(n - i), x + i);
    lowest = _mm512_min_ps(lowest, v);
    highest = _mm512_max_ps(highest, v);
  }
  return {_mm512_reduce_min_ps(lowest), _mm512_reduce_max_ps(highest)};
}

void quantize(const float* x, float scale, int zero, size_t n, uint8_t* y) {
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

void column_sums(const int8_t* weight, size_t rows, size_t columns, int32_t* sums) {
  for (size_t k = 0; k < rows; ++k)
    for (size_t n = 0; n < columns; ++n) sums[n] += weight[k * columns + n];
}

void accumulate(const int8_t* weight, size_t stride, size_t rows, size_t columns, const uint8_t* x, const char* after,
                int32_t* sums) {
  const size_t wide_end = columns / kWide * kWide, deep_end = rows / 4 * 4;
  std::memset(sums, 0, columns * sizeof *sums);
  for (size_t k = 0; k < deep_end; k += kDeep) {
    const size_t stop = std::min(k + kDeep, deep_end);
    // At the end, not the rows behind it, which are another's, but what comes next; rows follow each other in memory.
    const char* ahead =
        after && k + kDeep >= deep_end ? after : reinterpret_cast<const char*>(weight + (k + kDeep) * stride);
    for (size_t n = 0; n < wide_end; n += kWide) {
      __m512i s[4];
      for (size_t i = 0; i < 4; ++i) s[i] = _mm512_loadu_si512(sums + n + 16 * i);
      for (size_t r = k; r < stop; r += 4) {
        for (size_t i = r; i < r + 4; ++i) _mm_prefetch(ahead + (i - k) * stride + n, _MM_HINT_T0);
        add_four_rows(weight + r * stride + n, stride, four_bytes(x + r), s);
      }
      for (size_t i = 0; i < 4; ++i) _mm512_storeu_si512(sums + n + 16 * i, s[i]);
    }
  }
  for (size_t n = 0; n < wide_end; n += kWide) {
    __m512i s[4];
    for (size_t i = 0; i < 4; ++i) s[i] = _mm512_loadu_si512(sums + n + 16 * i);
    in_order(s);
    for (size_t i = 0; i < 4; ++i) _mm512_storeu_si512(sums + n + 16 * i, s[i]);
  }
  for (size_t k = 0; k < rows; ++k)  // what fills no vector
    for (size_t n = k < deep_end ? wide_end : 0; n < columns; ++n) sums[n] += x[k] * weight[k * stride + n];
}

void scale(const Int8Scaling& by, const int32_t* sums, size_t others, size_t stride, size_t n, float* y) {
  const __m512 x_scale = _mm512_set1_ps(by.x_scale);
  const __m512i zero = _mm512_set1_epi32(by.zero);
  for (size_t i = 0; i < n; i += kLanes) {
    const __mmask16 mask = lanes(n - i);
    __m512i sum = _mm512_maskz_loadu_epi32(mask, sums + i);
    for (size_t other = 1; other <= others; ++other)
      sum = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(mask, sums + other * stride + i));
    sum = _mm512_sub_epi32(sum, _mm512_mullo_epi32(zero, _mm512_maskz_loadu_epi32(mask, by.column_sums + i)));
    const __m512 scale = _mm512_mul_ps(x_scale, _mm512_maskz_loadu_ps(mask, by.scale + i));
    _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
  }
}

void pack(const int8_t* weight, size_t stride, size_t K, Span rows, size_t columns, int8_t* packed, int32_t* sums) {
  const size_t depth = padded(K, kDepth);
  const __m512i ones = _mm512_set1_epi8(1);
  std::memset(sums, 0, padded(columns, kPacked) * sizeof *sums);
  for (size_t first = rows.begin; first < rows.end; first += kDeep) {
    for (size_t n = 0; n < columns; n += kPacked) {
      const __mmask64 mask = columns - n >= kPacked ? ~0ull : (1ull << (columns - n)) - 1;
      __m512i totals[4];
      for (size_t i = 0; i < 4; ++i) totals[i] = _mm512_loadu_si512(sums + n + 16 * i);
      for (size_t k = first; k < std::min(first + kDeep, rows.end); k += 4) {
        __m512i row[4];
        for (size_t i = 0; i < 4; ++i) {
          row[i] = k + i < K ? _mm512_maskz_loadu_epi8(mask, weight + (k + i) * stride + n) : _mm512_setzero_si512();
          _mm_prefetch(weight + (k + i + kDeep) * stride + n, _MM_HINT_T0);
        }
        __m512i four[4];
        interleave(row, four);
        in_order(four);
        for (size_t i = 0; i < 4; ++i) {
          totals[i] = _mm512_dpbusd_epi32(totals[i], ones, four[i]);
          _mm512_storeu_si512(packed + (n + 16 * i) * depth + 16 * k, four[i]);
        }
      }
      for (size_t i = 0; i < 4; ++i) _mm512_storeu_si512(sums + n + 16 * i, totals[i]);
    }
  }
}

void scale_panel(const Int8Scaling& by, const int32_t* sums, const Target& to) {
  for (size_t n = 0; n < to.columns; n += kLanes) {
    const __mmask16 mask = lanes(to.columns - n);
    const __m512i zeros = _mm512_mullo_epi32(_mm512_set1_epi32(by.zero), _mm512_loadu_si512(by.column_sums + n));
    const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(by.x_scale), _mm512_maskz_loadu_ps(mask, by.scale + n));
    for (size_t i = 0; i < to.rows; ++i) {
      const __m512i sum = _mm512_sub_epi32(_mm512_load_si512(sums + i * kPanel + n), zeros);
      _mm512_mask_storeu_ps(to.y + i * to.stride + n, mask, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
    }
  }
}

}  // namespace

const Int8Kernels kInt8Kernels = {ends, quantize, column_sums, accumulate, scale, pack, scale_panel};

}  // namespace rrwkv::avx512
