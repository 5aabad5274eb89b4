// Parts of what is counted from 0 on.
#pragma once

#include <cstddef>

namespace rrwkv {

struct Span {
  size_t begin, end;
};

// The i-th of `parts` parts of 0 .. n, each but the last a multiple of `unit`; those that are too many are empty.
inline Span part_of(size_t i, size_t parts, size_t n, size_t unit) {
  const size_t units = (n + unit - 1) / unit, begin = units * i / parts * unit, end = units * (i + 1) / parts * unit;
  return {begin < n ? begin : n, end < n ? end : n};
}

inline size_t padded(size_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace rrwkv
