// BlockwiseKernels for many rows: sixteen of them times sixteen outputs, block by block.
#pragma once

#include "kernels/lanes/blockwise.h"

namespace rrwkv::lanes {

// Weights of 16 outputs as bytes [K / 4, 16, 4], of four bits a block's even ones before its odd ones.
inline void unpack_bytes(const BlockwiseWeights& w, size_t output, uint8_t* bytes) {
  constexpr uint32_t kLower = 0x0f0f0f0f;
  const size_t in_run = std::min<size_t>(w.block, kRun) / 8;  // of four bits: packed groups of a run
  for (size_t i = 0; i < kSide; ++i) {
    const uint8_t* row = w.weight + std::min(output + i, w.outputs - 1) * w.row_bytes;
    for (size_t j = 0; j < w.row_bytes / 4; ++j) {
      uint32_t group;
      std::memcpy(&group, row + 4 * j, sizeof group);
      const size_t to = w.bits == 8 ? j : j / in_run * 2 * in_run + j % in_run;
      const uint32_t even = w.bits == 8 ? group : group & kLower, odd = group >> 4 & kLower;
      std::memcpy(bytes + (to * kSide + i) * 4, &even, sizeof even);
      if (w.bits == 4) std::memcpy(bytes + ((to + in_run) * kSide + i) * 4, &odd, sizeof odd);
    }
  }
}

// Of 8 bits as numbers of 16, [K / 2, 16, 2].
inline void unpack_words(const BlockwiseWeights& w, size_t output, uint8_t* bytes) {
  for (size_t i = 0; i < kSide; ++i) {
    const uint8_t* row = w.weight + std::min(output + i, w.outputs - 1) * w.row_bytes;
    for (size_t k = 0; k < w.row_bytes; k += 2) {
      const uint16_t two[2] = {row[k], row[k + 1]};
      std::memcpy(bytes + (k / 2 * kSide + i) * sizeof two, two, sizeof two);
    }
  }
}

// int8 in place to numbers of 16 bits.
inline void widen(uint8_t* bytes, size_t count) {
  for (size_t i = count; i-- > 0;) {
    const auto wide = static_cast<int16_t>(static_cast<int8_t>(bytes[i]));
    std::memcpy(bytes + i * sizeof wide, &wide, sizeof wide);
  }
}

// dot(x, stride, weights, depth, dots): whole numbers [16, 16] of a block of 16 rows of activations, a stride apart.
// value_bytes: of an activation or a weight.
template <class Floats, typename Dot>
void multiply_tile(const BlockwiseTile& w, const BlockwiseRows& x, size_t value_bytes, const Dot& dot,
                   const Target& to) {
  alignas(64) int32_t dots[kSide * kSide];
  alignas(64) float totals[kSide * kSide] = {};
  for (size_t b = 0; b < w.blocks; ++b) {
    const size_t at = b * w.block * value_bytes;
    dot(x.bytes + at, x.stride, w.bytes + kSide * at, w.block, dots);
    const Floats scale = Floats::load(w.scales + kSide * b);
    for (size_t i = 0; i < kSide; ++i) {
      const Floats scales = Floats::all(x.scales[i * w.blocks + b]), zeros = Floats::all(x.zeros[i * w.blocks + b]);
      const Floats sums = floats_of(decltype(rounded(scale))::load(dots + kSide * i));
      fma(fma(sums, scales, zeros), scale, Floats::load(totals + kSide * i)).store(totals + kSide * i);
    }
  }
  for (size_t i = 0; i < to.rows; ++i) Floats::load(totals + kSide * i).store(to.y + i * to.stride, to.columns);
}

}  // namespace rrwkv::lanes
