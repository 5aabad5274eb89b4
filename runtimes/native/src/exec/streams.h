// Rows of a matrix, four at a time. As four streams, each a quarter of the rows behind the one before, they are read as
// processors like it that fetch ahead of several streams by themselves; others like rows that follow each other.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "exec/memory_range.h"
#include "exec/reading.h"
#include "exec/span.h"

namespace rrwkv {

constexpr size_t kLineBytes = 64;

// four(i, apart, last): rows i, i + apart, …, and whether they are the last four; one(i): a row that is left.
template <typename Four, typename One>
void in_streams(const Reading& how, Span rows, const Four& four, const One& one) {
  const size_t count = rows.end - rows.begin, apart = how.apart(count), fours = count / kStreams;
  for (size_t i = 0; i < fours; ++i) four(rows.begin + i * how.step(), apart, i + 1 == fours);
  for (size_t i = rows.begin + kStreams * fours; i < rows.end; ++i) one(i);
}

// Memory that is read so from its begin on: what is fetched of it before.
inline MemoryRange streams_of(const void* begin, size_t rows, size_t row_bytes) {
  constexpr size_t kMost = 64 << 10;
  const size_t apart = reading().apart(rows);
  if (rows < kStreams) return {static_cast<const char*>(begin), rows * row_bytes};
  return {static_cast<const char*>(begin), std::min(apart * row_bytes, kMost), kStreams, apart * row_bytes};
}

// The begin of each of its rows.
inline Fetch first_of(const MemoryRange& range) {
  const MemoryRange begin{range.begin, std::min(range.bytes, reading().ahead), range.rows, range.stride};
  return {begin, begin.rows * begin.bytes};
}

}  // namespace rrwkv
