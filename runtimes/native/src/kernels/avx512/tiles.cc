#include "kernels/avx512/tiles.h"

#include <algorithm>
#include <cstring>

#include "kernels/amx/amx.h"
#include "kernels/avx512/interleave.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv {
namespace {

constexpr size_t kRows = 8;   // rows of activations whose sums stay in registers
constexpr size_t kDeep = 16;  // rows of weights at a time

// kCount of the rows, from the first on.
template <size_t kCount>
void multiply_some(const Piece& p, size_t first, int32_t* sums) {
  const uint8_t* x = p.x + first * p.depth;
  sums += first * kPanel;
  __m512i s[kCount][2];
  for (size_t i = 0; i < kCount; ++i)
    for (size_t half = 0; half < 2; ++half)
      s[i][half] = p.from ? _mm512_loadu_si512(sums + i * kPanel + 16 * half) : _mm512_setzero_si512();
  for (size_t k = p.from; k < p.to; k += 4) {
    const __m512i left = _mm512_loadu_si512(p.packed + 16 * k),
                  right = _mm512_loadu_si512(p.packed + 16 * (p.depth + k));
    for (size_t i = 0; i < kCount; ++i) {
      const __m512i four = four_bytes(x + i * p.depth + k);
      s[i][0] = _mm512_dpbusd_epi32(s[i][0], four, left);
      s[i][1] = _mm512_dpbusd_epi32(s[i][1], four, right);
    }
  }
  for (size_t i = 0; i < kCount; ++i)
    for (size_t half = 0; half < 2; ++half) _mm512_storeu_si512(sums + i * kPanel + 16 * half, s[i][half]);
}

}  // namespace

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

bool has_amx() {
  static const bool found = amx::allowed();
  return found;
}

Tiles::Tiles(bool amx, size_t depth) : amx_(amx) {
  if (amx_) amx::begin(std::min(depth, kDepth));
}

Tiles::~Tiles() {
  if (amx_) amx::end();
}

void Tiles::multiply(const Piece& piece, int32_t* sums) const {
  if (amx_) return amx::multiply(piece, sums);
  size_t i = 0;
  for (; i + kRows <= piece.rows; i += kRows) multiply_some<kRows>(piece, i, sums);
  for (; i < piece.rows; ++i) multiply_some<1>(piece, i, sums);
}

void Tiles::dot(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, size_t count,
                int32_t* dots) const {
  if (amx_) return amx::dot(x, stride, weights, depth, count, dots);
  for (; count; --count, x += depth, weights += kSide * depth, dots += kSide * kSide) {
    __m512i sums[kSide];
    for (__m512i& sum : sums) sum = _mm512_setzero_si512();
    for (size_t k = 0; k < depth; k += 4) {
      const __m512i group = _mm512_loadu_si512(weights + kSide * k);
      for (size_t i = 0; i < kSide; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], group, four_bytes(x + i * stride + k));
    }
    for (size_t i = 0; i < kSide; ++i) _mm512_storeu_si512(dots + kSide * i, sums[i]);
  }
}

}  // namespace rrwkv
