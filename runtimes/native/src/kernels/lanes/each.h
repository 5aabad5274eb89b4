// A row, sixteen lanes after sixteen.
//
// What is here is written once for every processor: over a table's own Floats and Ints, which are sixteen lanes to all
// of them. So sums are made in the same order everywhere, and have the same bits.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace rrwkv::lanes {

constexpr size_t kLanes = 16;

// Into its caller, however large that is: what it is given stays in registers. And what fetches: a function that does
// nothing else is taken for one without an effect.
#define RRWKV_INLINE __attribute__((always_inline))

// Into the first cache, what is read soon.
RRWKV_INLINE inline void fetch(const void* address) { __builtin_prefetch(address, 0, 3); }

// action(0), action(1), … of numbers that the compiler knows: so what they index stays in registers.
template <typename Action, size_t... kI>
RRWKV_INLINE inline void unrolled(const Action& action, std::index_sequence<kI...>) {
  (action(std::integral_constant<size_t, kI>{}), ...);
}
template <size_t kCount, typename Action>
RRWKV_INLINE inline void unrolled(const Action& action) {
  unrolled(action, std::make_index_sequence<kCount>{});
}

// a b + c, rounded once; where no instruction does that (RRWKV_NATIVE_UNFUSED), twice.
inline float fused(float a, float b, float c) {
#if defined(RRWKV_NATIVE_UNFUSED)
  return a * b + c;
#else
  return std::fma(a, b, c);
#endif
}

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
