// GroupNorm of a head over sixteen lanes.
#pragma once

#include <cmath>

#include "kernels/kernels.h"
#include "kernels/lanes/each.h"

namespace rrwkv::lanes {

// give(at, GN(y)) for all of y [n], which is lost.
template <class Floats, typename Give>
void group_norm(const GroupNorm& of, size_t n, float* y, const Give& give) {
  const auto count = static_cast<float>(n);
  Floats sums = Floats::all(0), squares = Floats::all(0);
  each<Floats>(n, [&](auto at) { sums = sums + at.load(y); });
  const Floats mean = Floats::all(sum(sums) / count);
  each<Floats>(n, [&](auto at) {
    at.store(y, at.load(y) - mean);
    const Floats d = at.load(y);  // 0 where there is no value
    squares = fma(d, d, squares);
  });
  const Floats inverse = Floats::all(1.0f / std::sqrt(sum(squares) / count + of.epsilon));
  each<Floats>(n, [&](auto at) { give(at, fma(at.load(y) * inverse, at.load(of.gain), at.load(of.bias))); });
}

}  // namespace rrwkv::lanes
