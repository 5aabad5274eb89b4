// BlockwiseKernels over sixteen lanes, each of which holds four bytes of weights.
#pragma once

#include <algorithm>
#include <cstring>

#include "exec/streams.h"
#include "kernels/kernels.h"
#include "kernels/lanes/each.h"

namespace rrwkv::lanes {

constexpr size_t kRun = 128;    // values of 4 bits that 64 bytes hold
constexpr size_t kVector = 64;  // bytes of sixteen lanes

// Bytes in runs: of each the even ones, then the odd ones, as 4-bit weights lie in theirs.
inline void part_runs(uint8_t* bytes, size_t count, size_t run) {
  uint8_t odd[kRun / 2];
  for (size_t from = 0; from < count; from += run) {
    uint8_t* x = bytes + from;
    for (size_t i = 0; i < run / 2; ++i) {
      odd[i] = x[2 * i + 1];
      x[i] = x[2 * i];
    }
    std::memcpy(x + run / 2, odd, run / 2);
  }
}

// Of one row: bytes, and of each block the scale, and that times what the weights' zero adds.
template <class Floats>
void quantize_blocks(const BlockwiseWeights& w, const float* x, uint8_t* bytes, float* scales, float* zeros) {
  std::memset(bytes, 0, w.activation_bytes());
  for (size_t b = 0; b < w.blocks; ++b) {
    const size_t first = b * w.block, last = std::min(first + w.block, w.inputs);
    Floats most_of = Floats::all(0);
    for (size_t i = first; i < last; i += kLanes) most_of = max(most_of, abs(Floats::load(x + i, last - i)));
    const float most = largest(most_of), inverse = most > 0 ? 127.0f / most : 0.0f;
    int32_t total = 0;
    for (size_t i = first; i < last; i += kLanes) {
      const auto whole = rounded(Floats::load(x + i, last - i) * Floats::all(inverse));
      total = static_cast<int32_t>(static_cast<uint32_t>(total) + static_cast<uint32_t>(sum(whole)));
      whole.store_bytes(bytes + i, last - i);
    }
    scales[b] = most / 127.0f;
    zeros[b] = -static_cast<float>(1 << (w.bits - 1)) * scales[b] * static_cast<float>(total);
  }
}

// A row of many, where a value is a byte.
template <class Floats>
void quantize_row_of_bytes(const BlockwiseWeights& w, const float* x, uint8_t* bytes, float* scales, float* zeros) {
  quantize_blocks<Floats>(w, x, bytes, scales, zeros);
  if (w.bits == 4) part_runs(bytes, w.activation_bytes(), std::min(w.block, kRun));
}

inline size_t one_byte(size_t) { return 1; }

// Lanes: dots of 64 bytes of a processor. kAtOnce: rows whose sums stay in registers.
template <class Floats, class Lanes>
struct Blockwise {
  static void quantize(const BlockwiseWeights& w, const float* x, uint8_t* bytes, float* scales, float* lane_scales,
                       float* zeros) {
    quantize_blocks<Floats>(w, x, bytes, scales, zeros);
    if (w.bits == 4) part_runs(bytes, w.activation_bytes(), kRun);
    std::memset(lane_scales, 0, w.vectors * kLanes * sizeof(float));
    const size_t in_block = w.block * w.bits / 32;
    for (size_t b = 0; b < w.blocks; ++b) std::fill_n(lane_scales + b * in_block, in_block, scales[b]);
  }

  // One row of `rows`: what a vector of weights adds.
  template <int kBits, size_t kInBlock>
  static Floats add_vector(const uint8_t* weight, const uint8_t* x, const float* scale, size_t held, Floats x_scales,
                           Floats sum) {
    const auto dots = kBits == 8 ? Lanes::dot8(weight, x) : Lanes::dot4(weight, x, x + kVector);
    return fma(floats_of(dots), Lanes::template spread<kInBlock>(scale, held) * x_scales, sum);
  }

  template <size_t kRows>
  struct Rows {
    const uint8_t* weight[kRows];
    const float* scale[kRows];
  };

  // What whole vectors of some rows add. in_block: lanes of a block; kInBlock: as many, up to sixteen. fetch_at: what
  // is fetched when a vector is read. A function of its own, without calls, so that the sums need not lie in memory.
  template <int kBits, size_t kInBlock, size_t kRows, typename FetchAt>
  __attribute__((noinline)) static void add_vectors(const Rows<kRows>& w, const BlockwiseRow& x, size_t whole,
                                                    size_t in_block, FetchAt fetch_at, Floats* added) {
    Rows<kRows> at;
    Floats sums[kRows];
    unrolled<kRows>([&](auto i) RRWKV_INLINE {
      at.weight[i] = w.weight[i];
      at.scale[i] = w.scale[i];
      sums[i] = Floats::all(0);
    });
    if (kInBlock < kLanes) in_block = kInBlock;
    for (size_t v = 0; v < whole; ++v) {
      const uint8_t* bytes = x.bytes + 512 / kBits * v;
      const size_t block = v * kLanes / in_block;
      const Floats x_scales = Floats::load(x.scales + kLanes * v);
      unrolled<kRows>([&](auto i) RRWKV_INLINE { fetch_at(at.weight[i]); });
      unrolled<kRows>([&](auto i) RRWKV_INLINE {
        sums[i] =
            add_vector<kBits, kInBlock>(at.weight[i], bytes, at.scale[i] + block, kLanes / kInBlock, x_scales, sums[i]);
        at.weight[i] += kVector;
      });
    }
    unrolled<kRows>([&](auto i) RRWKV_INLINE { added[i] = sums[i]; });
  }

  // What the weights' zero adds, of a multiple of sixteen blocks.
  template <size_t kRows>
  __attribute__((noinline)) static void add_zeros(const Rows<kRows>& w, const BlockwiseRow& x, size_t blocks,
                                                  Floats* to) {
    Floats sums[kRows];
    unrolled<kRows>([&](auto i) RRWKV_INLINE { sums[i] = to[i]; });
    for (size_t b = 0; b < blocks; b += kLanes) {
      const Floats zeros = Floats::load(x.zeros + b);
      unrolled<kRows>([&](auto i) RRWKV_INLINE { sums[i] = fma(Floats::load(w.scale[i] + b), zeros, sums[i]); });
    }
    unrolled<kRows>([&](auto i) RRWKV_INLINE { to[i] = sums[i]; });
  }

  // y of some rows, `apart` rows from each other.
  template <int kBits, size_t kInBlock, size_t kRows, typename FetchAt>
  static void rows(const BlockwiseWeights& w, const BlockwiseRow& x, size_t first, size_t apart, FetchAt fetch_at,
                   float* y) {
    Rows<kRows> of;
    for (size_t i = 0; i < kRows; ++i) {
      of.weight[i] = w.weight + (first + i * apart) * w.row_bytes;
      of.scale[i] = w.scale + (first + i * apart) * w.blocks;
    }
    const size_t in_block = w.block * kBits / 32, whole = w.row_bytes / kVector;
    Floats sums[kRows];
    add_vectors<kBits, kInBlock>(of, x, whole, in_block, fetch_at, sums);
    if (whole < w.vectors) {  // less than a vector is left, and it may be the last of the memory
      const size_t block = whole * kLanes / in_block, left = w.row_bytes - whole * kVector;
      for (size_t i = 0; i < kRows; ++i) {
        uint8_t last[kVector] = {};
        std::memcpy(last, of.weight[i] + kVector * whole, left);
        sums[i] = add_vector<kBits, kInBlock>(last, x.bytes + 512 / kBits * whole, of.scale[i] + block,
                                              w.blocks - block, Floats::load(x.scales + kLanes * whole), sums[i]);
      }
    }
    const size_t sixteens = w.blocks / kLanes * kLanes, left = w.blocks - sixteens;
    add_zeros(of, x, sixteens, sums);
    for (size_t i = 0; left && i < kRows; ++i)
      sums[i] = fma(Floats::load(of.scale[i] + sixteens, left), Floats::load(x.zeros + sixteens, left), sums[i]);
    for (size_t i = 0; i < kRows; ++i) y[first + i * apart] = sum(sums[i]);
  }

  template <int kBits, size_t kInBlock>
  static void multiply_lanes(const BlockwiseWeights& w, const BlockwiseRow& x, Span outputs, const MemoryRange& after,
                             float* y) {
    constexpr size_t kRows = Lanes::kRowsAtOnce;
    static_assert(kStreams % kRows == 0);
    const Reading& how = reading();
    Fetch next = first_of(after);
    const auto same = [ahead = how.ahead](const uint8_t* at) RRWKV_INLINE { fetch(at + ahead); };
    const auto others = [&next](const uint8_t*) RRWKV_INLINE { next.line<Cache::kFirst>(); };
    in_streams(
        how, outputs,
        [&](size_t i, size_t apart, bool last) {
          for (size_t j = i; j < i + kStreams * apart; j += kRows * apart)
            last ? rows<kBits, kInBlock, kRows>(w, x, j, apart, others, y)
                 : rows<kBits, kInBlock, kRows>(w, x, j, apart, same, y);
        },
        [&](size_t i) { rows<kBits, kInBlock, 1>(w, x, i, 0, same, y); });
  }

  template <int kBits>
  static void multiply_bits(const BlockwiseWeights& w, const BlockwiseRow& x, Span outputs, const MemoryRange& after,
                            float* y) {
    switch (w.block * kBits / 32) {  // lanes of a block
      case 2:
        return multiply_lanes<kBits, 2>(w, x, outputs, after, y);
      case 4:
        return multiply_lanes<kBits, 4>(w, x, outputs, after, y);
      case 8:
        return multiply_lanes<kBits, 8>(w, x, outputs, after, y);
      default:
        return multiply_lanes<kBits, 16>(w, x, outputs, after, y);
    }
  }

  static void multiply(const BlockwiseWeights& w, const BlockwiseRow& x, Span outputs, const MemoryRange& after,
                       float* y) {
    w.bits == 8 ? multiply_bits<8>(w, x, outputs, after, y) : multiply_bits<4>(w, x, outputs, after, y);
  }
};

// A block's of 16 outputs from this one on; where there are fewer, the last one's again.
inline void scales_of(const BlockwiseWeights& w, size_t output, size_t block, float* scales) {
  for (size_t i = 0; i < kSide; ++i) scales[i] = w.scale[std::min(output + i, w.outputs - 1) * w.blocks + block];
}

}  // namespace rrwkv::lanes
