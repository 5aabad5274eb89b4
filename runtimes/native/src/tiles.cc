#include "tiles.h"

#include <algorithm>

#include "amx.h"
#include "vectors.h"

namespace rrwkv {
namespace {

constexpr size_t kRows = 8;  // rows of activations whose sums stay in registers

// sums of kCount rows from the first on, with all 32 columns.
template <size_t kCount>
void multiply_some(const uint8_t* x, size_t depth, const int8_t* packed, int32_t* sums) {
  __m512i s[kCount][2];
  for (auto& row : s) row[0] = row[1] = _mm512_setzero_si512();
  for (size_t k = 0; k < depth; k += 4) {
    const __m512i left = _mm512_loadu_si512(packed + 16 * k), right = _mm512_loadu_si512(packed + 16 * (depth + k));
    for (size_t i = 0; i < kCount; ++i) {
      const __m512i four = four_bytes(x + i * depth + k);
      s[i][0] = _mm512_dpbusd_epi32(s[i][0], four, left);
      s[i][1] = _mm512_dpbusd_epi32(s[i][1], four, right);
    }
  }
  for (size_t i = 0; i < kCount; ++i)
    for (size_t half = 0; half < 2; ++half) _mm512_storeu_si512(sums + kPanel * i + 16 * half, s[i][half]);
}

}  // namespace

void pack(const int8_t* weight, size_t stride, size_t K, size_t columns, int8_t* packed) {
  const size_t depth = padded(K, kDepth);
  const __mmask32 mask = columns >= kPanel ? ~0u : (1u << columns) - 1;
  for (size_t k = 0; k < depth; k += 4) {
    __m256i row[4];
    for (size_t i = 0; i < 4; ++i)
      row[i] = k + i < K ? _mm256_maskz_loadu_epi8(mask, weight + (k + i) * stride) : _mm256_setzero_si256();
    const __m256i ab_low = _mm256_unpacklo_epi8(row[0], row[1]), ab_high = _mm256_unpackhi_epi8(row[0], row[1]);
    const __m256i cd_low = _mm256_unpacklo_epi8(row[2], row[3]), cd_high = _mm256_unpackhi_epi8(row[2], row[3]);
    const __m256i four[4] = {_mm256_unpacklo_epi16(ab_low, cd_low), _mm256_unpackhi_epi16(ab_low, cd_low),
                             _mm256_unpacklo_epi16(ab_high, cd_high), _mm256_unpackhi_epi16(ab_high, cd_high)};
    for (size_t j = 0; j < 4; ++j) {  // four columns of either half
      auto* to = reinterpret_cast<__m128i*>(packed + 16 * k) + j;
      _mm_storeu_si128(to, _mm256_castsi256_si128(four[j]));
      _mm_storeu_si128(to + depth, _mm256_extracti128_si256(four[j], 1));
    }
  }
}

void sum_columns(const int8_t* packed, size_t depth, int32_t* sums) {
  const __m512i ones = _mm512_set1_epi8(1);
  for (size_t half = 0; half < 2; ++half) {
    __m512i sum = _mm512_setzero_si512();
    for (size_t k = 0; k < depth; k += 4)
      sum = _mm512_dpbusd_epi32(sum, ones, _mm512_loadu_si512(packed + 16 * (half * depth + k)));
    _mm512_storeu_si512(sums + 16 * half, sum);
  }
}

bool has_amx() {
  static const bool found = amx::allowed();
  return found;
}

Tiles::Tiles(bool amx) : amx_(amx) {
  if (amx_) amx::begin();
}

Tiles::~Tiles() {
  if (amx_) amx::end();
}

void Tiles::multiply(const uint8_t* x, size_t rows, size_t depth, const int8_t* packed, int32_t* sums) const {
  if (amx_) return amx::multiply(x, rows, depth, packed, sums);
  size_t i = 0;
  for (; i + kRows <= rows; i += kRows) multiply_some<kRows>(x + i * depth, depth, packed, sums + kPanel * i);
  for (; i < rows; ++i) multiply_some<1>(x + i * depth, depth, packed, sums + kPanel * i);
}

}  // namespace rrwkv
