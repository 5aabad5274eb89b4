// Blockwise weights times many rows.
#include <algorithm>

#include "kernels/avx512/avx512.h"
#include "kernels/avx512/shuffle.h"
#include "kernels/avx512/vectors.h"
#include "kernels/lanes/blockwise.h"

namespace rrwkv::avx512 {
namespace {

constexpr size_t kAtOnce = 4;  // blocks whose dots are made before those of the four before them are scaled

}  // namespace

void unpack(const BlockwiseWeights& w, size_t output, uint8_t* bytes, float* scales) {
  const size_t in_run = std::min<size_t>(w.block, lanes::kRun) / 8;  // of four bits: packed groups of a run
  const __m512i lower = _mm512_set1_epi8(0x0f);
  for (size_t from = 0; from < w.row_bytes; from += kUnit) {
    __m512i unit[16];
    load_turned(w.weight, w.row_bytes, w.outputs, output, from, unit);
    uint8_t* to = bytes + from * 8 / w.bits * kSide;
    for (size_t j = 0; j < 16; ++j) {
      if (w.bits == 8) {
        _mm512_storeu_si512(to + 64 * j, unit[j]);
      } else {
        uint8_t* even = to + 64 * (j / in_run * 2 * in_run + j % in_run);
        _mm512_storeu_si512(even, _mm512_and_si512(unit[j], lower));
        _mm512_storeu_si512(even + 64 * in_run, _mm512_and_si512(_mm512_srli_epi16(unit[j], 4), lower));
      }
    }
  }
  for (size_t b = 0; b < w.blocks; ++b) lanes::scales_of(w, output, b, scales + kSide * b);
}

void multiply_tile(const BlockwiseTile& w, const BlockwiseRows& x, const TileKernels& tiles, const Target& to) {
  alignas(64) int32_t dots[2][kAtOnce][kSide * kSide];
  const auto make = [&](size_t from) {
    if (from >= w.blocks) return;
    tiles.dot(x.bytes + from * w.block, x.stride, w.bytes + kSide * from * w.block, w.block,
              std::min(kAtOnce, w.blocks - from), dots[from / kAtOnce % 2][0]);
  };
  __m512 totals[kSide];
  for (__m512& total : totals) total = _mm512_setzero_ps();
  make(0);
  for (size_t from = 0; from < w.blocks; from += kAtOnce) {
    make(from + kAtOnce);
    for (size_t b = from; b < std::min(from + kAtOnce, w.blocks); ++b) {
      const int32_t* of_block = dots[b / kAtOnce % 2][b % kAtOnce];
      const __m512 scale = _mm512_loadu_ps(w.scales + kSide * b);
      for (size_t i = 0; i < kSide; ++i) {
        const __m512 scales = _mm512_set1_ps(x.scales[i * w.blocks + b]);
        const __m512 zeros = _mm512_set1_ps(x.zeros[i * w.blocks + b]);
        const __m512 sums = _mm512_cvtepi32_ps(_mm512_load_si512(of_block + kSide * i));
        totals[i] = _mm512_fmadd_ps(_mm512_fmadd_ps(sums, scales, zeros), scale, totals[i]);
      }
    }
  }
  const __mmask16 mask = first(to.columns);
  for (size_t i = 0; i < to.rows; ++i) _mm512_mask_storeu_ps(to.y + i * to.stride, mask, totals[i]);
}

}  // namespace rrwkv::avx512
