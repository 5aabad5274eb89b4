// `BlockwiseInt8` times many rows at once: 16 outputs and 16 rows at a time, block by block.
#include <algorithm>
#include <atomic>

#include "kernels/avx512/blockwise.h"
#include "kernels/avx512/tiles.h"
#include "kernels/avx512/transpose.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv {
namespace {

constexpr size_t kAtOnce = 4;  // blocks whose dots are made before those of the four before them are scaled

// 16 rows of activations, block by block: bytes, and of each row and block the scale and what the weights' zero adds.
struct Rows {
  const uint8_t* bytes;
  const float *scales, *zeros;
  size_t stride;
};

// Weights of 16 outputs: [K / 4, 16, 4], of four bits a block's even ones before its odd ones; scales [blocks, 16].
struct Outputs {
  const uint8_t* bytes;
  const float* scales;
  size_t block, blocks;
};

// y [16, 16] of some rows, which are `stride` values apart, and as many outputs as the mask has.
void multiply_tile(const Outputs& w, const Rows& x, const Tiles& tiles, size_t rows, __mmask16 mask, size_t stride,
                   float* y) {
  alignas(64) int32_t dots[2][kAtOnce][kSide * kSide];
  const auto make = [&](size_t first) {
    if (first >= w.blocks) return;
    tiles.dot(x.bytes + first * w.block, x.stride, w.bytes + kSide * first * w.block, w.block,
              std::min(kAtOnce, w.blocks - first), dots[first / kAtOnce % 2][0]);
  };
  __m512 totals[kSide];
  for (__m512& total : totals) total = _mm512_setzero_ps();
  make(0);
  for (size_t first = 0; first < w.blocks; first += kAtOnce) {
    make(first + kAtOnce);
    for (size_t b = first; b < std::min(first + kAtOnce, w.blocks); ++b) {
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
  for (size_t i = 0; i < rows; ++i) _mm512_mask_storeu_ps(y + i * stride, mask, totals[i]);
}

}  // namespace

// From the output's row on, 16 rows (at the end fewer: the others are the last again, and not used).
void BlockwiseInt8::unpack(size_t output, uint8_t* bytes, float* scales) const {
  const size_t in_run = std::min<size_t>(block_, kRun) / 8;  // of four bits: packed groups of a run
  const __m512i lower = _mm512_set1_epi8(0x0f);
  for (size_t from = 0; from < row_bytes_; from += kUnit) {
    __m512i unit[16];
    load_turned(weight_, row_bytes_, outputs, output, from, unit);
    uint8_t* to = bytes + from * 8 / bits_ * kSide;
    for (size_t j = 0; j < 16; ++j) {
      if (bits_ == 8) {
        _mm512_storeu_si512(to + 64 * j, unit[j]);
      } else {
        uint8_t* even = to + 64 * (j / in_run * 2 * in_run + j % in_run);
        _mm512_storeu_si512(even, _mm512_and_si512(unit[j], lower));
        _mm512_storeu_si512(even + 64 * in_run, _mm512_and_si512(_mm512_srli_epi16(unit[j], 4), lower));
      }
    }
  }
  for (size_t b = 0; b < blocks_; ++b) scales_of(output, b, scales + kSide * b);
}

void BlockwiseInt8::quantize_rows(const float* x, size_t rows, QuantizedActivations& quantized,
                                  const Threads& threads) const {
  const size_t all = padded(rows, kSide);  // the last ones are multiplied, and not used
  uint8_t* bytes = quantized.bytes.of(all * row_size());
  float *scales = quantized.values.of(all * blocks_), *zeros = quantized.zeros.of(all * blocks_);
  const size_t run = std::min<size_t>(block_, kRun);
  threads.share_spans(threads.count, rows, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t)
      quantize_row(x + t * inputs, run, bytes + t * row_size(), scales + t * blocks_, zeros + t * blocks_);
  });
}

void BlockwiseInt8::multiply_rows(QuantizedActivations& x, size_t rows, bool amx, const Threads& threads,
                                  float* y) const {
  std::atomic<size_t> taken{0};
  threads.share(threads.count, [&](size_t) {
    static thread_local Scratch<uint8_t> bytes_of_thread;
    static thread_local Scratch<float> scales_of_thread;
    const Tiles tiles(amx, block_);
    uint8_t* bytes = bytes_of_thread.of(row_size() * kSide);
    float* scales = scales_of_thread.of(blocks_ * kSide);
    for (size_t n = taken.fetch_add(kSide); n < outputs; n = taken.fetch_add(kSide)) {
      unpack(n, bytes, scales);
      for (size_t t = 0; t < rows; t += kSide) {
        const Rows some{x.bytes.data() + t * row_size(), x.values.data() + t * blocks_, x.zeros.data() + t * blocks_,
                        row_size()};
        multiply_tile({bytes, scales, block_, blocks_}, some, tiles, std::min(kSide, rows - t), lanes(outputs - n),
                      outputs, y + t * outputs + n);
      }
    }
  });
}

}  // namespace rrwkv
