#include <algorithm>
#include <cstring>

#include "kernels/avx512/avx512.h"
#include "kernels/avx512/shuffle.h"

namespace rrwkv::avx512 {

void pack(const int8_t* weight, size_t stride, size_t K, Span rows, size_t columns, uint8_t* packed, int32_t* sums) {
  constexpr size_t kDeep = 16;  // rows at a time while the sums stay in registers, and rows fetched ahead
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

}  // namespace rrwkv::avx512
