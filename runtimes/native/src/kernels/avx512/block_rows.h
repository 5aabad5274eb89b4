// Rows of blockwise weights, several at once, so that one's sums need not wait for another's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rrwkv {

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

}  // namespace rrwkv
