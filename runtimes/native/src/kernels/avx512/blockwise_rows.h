// Rows of blockwise weights, several at once, so that one's sums need not wait for another's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/operands.h"

namespace rrwkv::avx512 {

constexpr size_t kRowsAtOnce = 4;

// What a thread computes of rows that follow each other in memory: several at once, and fetching what comes next.
template <typename Rows, typename Row>
void for_rows(size_t begin, size_t end, const uint8_t* weight, size_t row_bytes, const void* after, Rows rows,
              Row row) {
  constexpr size_t kAhead = 8;
  size_t i = begin;
  for (; i + kRowsAtOnce <= end; i += kRowsAtOnce) {
    const void* ahead = i + kAhead + kRowsAtOnce <= end || !after ? weight + (i + kAhead) * row_bytes : after;
    rows(i, static_cast<const char*>(ahead));
  }
  for (; i < end; ++i) row(i, reinterpret_cast<const char*>(weight + i * row_bytes));
}

// A block's of 16 outputs from this one on; where there are fewer, the last one's again.
inline void scales_of(const BlockwiseWeights& w, size_t output, size_t block, float* scales) {
  for (size_t i = 0; i < 16; ++i) scales[i] = w.scale[std::min(output + i, w.outputs - 1) * w.blocks + block];
}

}  // namespace rrwkv::avx512
