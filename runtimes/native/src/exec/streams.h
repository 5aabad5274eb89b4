// Rows that follow each other in memory, read as four streams: each a quarter of them behind the one before. Processors
// fetch ahead of several streams by themselves, of AMD's faster than of one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "exec/memory_range.h"
#include "exec/span.h"

namespace rrwkv {

constexpr size_t kStreams = 4;
constexpr size_t kAhead = 512;  // bytes of each stream that are fetched before they are multiplied
constexpr size_t kLineBytes = 64;

// four(i, apart): rows i, i + apart, …; one(i): a row that is left.
template <typename Four, typename One>
void in_streams(Span rows, const Four& four, const One& one) {
  const size_t apart = (rows.end - rows.begin) / kStreams;
  for (size_t i = rows.begin; i < rows.begin + apart; ++i) four(i, apart);
  for (size_t i = rows.begin + kStreams * apart; i < rows.end; ++i) one(i);
}

// Memory that is read so from its begin on: what is fetched of it before.
inline MemoryRange streams_of(const void* begin, size_t rows, size_t row_bytes) {
  constexpr size_t kMost = 64 << 10;
  const size_t apart = rows / kStreams;
  if (apart == 0) return {static_cast<const char*>(begin), rows * row_bytes};
  return {static_cast<const char*>(begin), std::min(apart * row_bytes, kMost), kStreams, apart * row_bytes};
}

// The begin of each of its rows.
inline Fetch first_of(const MemoryRange& range) {
  const MemoryRange begin{range.begin, std::min(range.bytes, kAhead), range.rows, range.stride};
  return {begin, begin.rows * begin.bytes};
}

}  // namespace rrwkv
