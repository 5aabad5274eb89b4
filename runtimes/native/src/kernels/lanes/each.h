// A row, sixteen lanes after sixteen.
//
// What is here is written once for every processor: over a table's own Floats and Ints, which are sixteen lanes to all
// of them. So sums are made in the same order everywhere, and have the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rrwkv::lanes {

constexpr size_t kLanes = 16;

// Into the first cache, what is read soon.
inline void fetch(const void* address) { __builtin_prefetch(address, 0, 3); }

// Sixteen values of a row from the i-th on.
template <class Floats>
struct Whole {
  size_t i;
  Floats load(const float* from) const { return Floats::load(from + i); }
  void store(float* to, Floats value) const { value.store(to + i); }
};

// The last ones, where there are fewer: the other lanes are 0, and are not stored.
template <class Floats>
struct Some {
  size_t i, left;
  Floats load(const float* from) const { return Floats::load(from + i, left); }
  void store(float* to, Floats value) const { value.store(to + i, left); }
};

// action(at) for all values of a row of n.
template <class Floats, typename Action>
void each(size_t n, const Action& action) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) action(Whole<Floats>{i});
  if (i < n) action(Some<Floats>{i, n - i});
}

}  // namespace rrwkv::lanes
