// RowKernels over sixteen lanes.
#pragma once

#include <cmath>

#include "kernels/kernels.h"
#include "kernels/lanes/each.h"
#include "kernels/lanes/functions.h"
#include "kernels/lanes/wkv.h"

namespace rrwkv::lanes {

template <typename Value>
Value halved(Value* lanes, size_t count) {
  for (; count > 1; count /= 2)
    for (size_t i = 0; i < count / 2; ++i) lanes[i] += lanes[i + count / 2];
  return lanes[0];
}

template <class Floats>
struct Rows {
  // The mean is summed in double, the variance about it in float, both in eight lanes.
  static void normalize(const float* x, const float* gain, const float* bias, float epsilon, size_t n, float* y) {
    constexpr size_t kEight = 8;
    const size_t whole = n / kEight * kEight;
    double sums[kEight] = {};
    for (size_t i = 0; i < whole; i += kEight)
      for (size_t lane = 0; lane < kEight; ++lane) sums[lane] += x[i + lane];
    double sum = halved(sums, kEight);
    for (size_t i = whole; i < n; ++i) sum += x[i];
    const auto mean = static_cast<float>(sum / static_cast<double>(n));

    float squares[kEight] = {};
    for (size_t i = 0; i < whole; i += kEight)
      for (size_t lane = 0; lane < kEight; ++lane)
        squares[lane] = fused(x[i + lane] - mean, x[i + lane] - mean, squares[lane]);
    float variance = halved(squares, kEight);
    for (size_t i = whole; i < n; ++i) variance = fused(x[i] - mean, x[i] - mean, variance);
    const Floats inverse = Floats::all(1.0f / std::sqrt(variance / static_cast<float>(n) + epsilon));
    each<Floats>(n, [&](auto at) {
      at.store(y, fma((at.load(x) - Floats::all(mean)) * inverse, at.load(gain), at.load(bias)));
    });
  }

  static void mix(const Mix& x, const Mix& of, size_t n, float* y) {
    each<Floats>(n, [&](auto at) {
      Floats mixed = at.load(x.now) * at.load(of.now) + at.load(x.before) * at.load(of.before);
      if (x.recalled) mixed = mixed + at.load(x.recalled) * at.load(of.recalled);
      at.store(y, mixed);
    });
  }

  static void add(const float* x, size_t n, float* y) {
    each<Floats>(n, [&](auto at) { at.store(y, at.load(y) + at.load(x)); });
  }

  static void add_scaled(float by, const float* x, size_t n, float* y) {
    each<Floats>(n, [&](auto at) { at.store(y, at.load(y) + Floats::all(by) * at.load(x)); });
  }

  static void square_relu(size_t n, float* x) {
    each<Floats>(n, [&](auto at) {
      const Floats kept = max(at.load(x), Floats::all(0));
      at.store(x, kept * kept);
    });
  }

  static void gate(const float* r, const float* v, size_t n, float* y) {
    each<Floats>(n, [&](auto at) { at.store(y, lanes::sigmoid(at.load(r)) * at.load(v)); });
  }

  static void add_gated(const float* x, const float* r, const float* v, size_t n, float* y) {
    each<Floats>(n, [&](auto at) { at.store(y, at.load(x) + lanes::sigmoid(at.load(r)) * at.load(v)); });
  }

  static void tanh(size_t n, float* x) {
    each<Floats>(n, [&](auto at) { at.store(x, tangent(at.load(x))); });
  }

  static void sigmoid(size_t n, float* x) {
    each<Floats>(n, [&](auto at) { at.store(x, lanes::sigmoid(at.load(x))); });
  }

  static void exponentials(float least, float most, size_t n, float* x) {
    each<Floats>(
        n, [&](auto at) { at.store(x, exponential(min(max(at.load(x), Floats::all(least)), Floats::all(most)))); });
  }

  static constexpr RowKernels kTable = {normalize, mix,  add,     add_scaled,   square_relu,    gate,
                                        add_gated, tanh, sigmoid, exponentials, wkv_row<Floats>};
};

}  // namespace rrwkv::lanes
