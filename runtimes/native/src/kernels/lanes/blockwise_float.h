// BlockwiseFloatKernels over sixteen lanes.
#pragma once

#include "kernels/lanes/blockwise.h"

namespace rrwkv::lanes {

// kAtOnce: rows whose sums stay in registers.
template <class Floats, class Lanes>
struct BlockwiseFloats {
  static void zeros(const BlockwiseWeights& w, const float* x, float* zeros) {
    for (size_t b = 0; b < w.blocks; ++b) {
      Floats total = Floats::all(0);
      for (size_t i = b * w.block; i < (b + 1) * w.block; i += kLanes) total = total + Floats::load(x + i);
      zeros[b] = -128.0f * sum(total);
    }
  }

  template <size_t kRows>
  static void rows(const BlockwiseWeights& w, const float* x, const float* x_zeros, size_t first, size_t apart,
                   Fetch* next, float* y) {
    const size_t ahead = reading().ahead;
    const uint8_t* weight = w.weight + first * w.row_bytes;
    const float* scale = w.scale + first * w.blocks;
    Floats totals[kRows];
    for (Floats& total : totals) total = Floats::all(0);
    for (size_t b = 0; b < w.blocks; ++b) {
      Floats sums[kRows];
      for (Floats& sum : sums) sum = Floats::all(0);
      for (size_t k = b * w.block; k < (b + 1) * w.block; k += kLanes) {
        const Floats values = Floats::load(x + k);
        for (size_t i = 0; i < kRows; ++i) {
          const uint8_t* bytes = weight + i * apart * w.row_bytes + k;
          if (k % kLineBytes == 0) next ? void(next->line<Cache::kFirst>()) : fetch(bytes + ahead);
          sums[i] = fma(Floats::of_bytes(bytes), values, sums[i]);
        }
      }
      for (size_t i = 0; i < kRows; ++i)
        totals[i] = fma(sums[i], Floats::all(scale[i * apart * w.blocks + b]), totals[i]);
    }
    for (size_t i = 0; i < kRows; ++i) {
      float zero = 0;
      for (size_t b = 0; b < w.blocks; ++b) zero += scale[i * apart * w.blocks + b] * x_zeros[b];
      y[first + i * apart] = sum(totals[i]) + zero;
    }
  }

  static void multiply(const BlockwiseWeights& w, const float* x, const float* x_zeros, Span outputs,
                       const MemoryRange& after, float* y) {
    constexpr size_t kAtOnce = Lanes::kRowsAtOnce;
    Fetch next = first_of(after);
    in_streams(
        reading(), outputs,
        [&](size_t i, size_t apart, bool last) {
          for (size_t j = 0; j < kStreams; j += kAtOnce)
            rows<kAtOnce>(w, x, x_zeros, i + j * apart, apart, last ? &next : nullptr, y);
        },
        [&](size_t i) { rows<1>(w, x, x_zeros, i, 0, nullptr, y); });
  }

  static void unpack(const BlockwiseWeights& w, size_t output, float* weights) {
    for (size_t i = 0; i < kSide; ++i) {
      const size_t row = std::min(output + i, w.outputs - 1);
      for (size_t k = 0; k < w.row_bytes; ++k)
        weights[kSide * k + i] =
            static_cast<float>(w.weight[row * w.row_bytes + k] - 128) * w.scale[row * w.blocks + k / w.block];
    }
  }

  static constexpr BlockwiseFloatKernels kTable = {zeros, multiply, unpack};
};

}  // namespace rrwkv::lanes
