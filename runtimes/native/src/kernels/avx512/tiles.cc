#include "kernels/avx512/avx512.h"
#include "kernels/avx512/products.h"

namespace rrwkv::avx512 {
namespace {

void begin(size_t) {}
void end() {}

constexpr size_t kRows = 8;  // rows of activations whose sums stay in registers

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

void multiply(const Piece& piece, int32_t* sums) {
  size_t i = 0;
  for (; i + kRows <= piece.rows; i += kRows) multiply_some<kRows>(piece, i, sums);
  for (; i < piece.rows; ++i) multiply_some<1>(piece, i, sums);
}

void dot(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, size_t count, int32_t* dots) {
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

}  // namespace

const TileKernels kTileKernels = {begin, end, multiply, dot};

}  // namespace rrwkv::avx512
