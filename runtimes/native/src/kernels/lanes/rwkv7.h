// RWKV7Kernels over sixteen lanes.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"
#include "kernels/lanes/each.h"
#include "kernels/lanes/functions.h"

namespace rrwkv::lanes {

// tanh(x) = x P(x²) / Q(x²); the constants are those of MLAS (tanh.cpp), which names Eigen as their source.
template <class Floats>
Floats tangent(Floats x) {
  x = max(Floats::all(-9.0f), x);
  x = min(Floats::all(9.0f), x);
  const Floats square = x * x;
  Floats p = Floats::all(-2.76076847742355e-16f), q = Floats::all(1.19825839466702e-06f);
  for (const float c : {2.00018790482477e-13f, -8.60467152213735e-11f, 5.12229709037114e-08f, 1.48572235717979e-05f,
                        6.37261928875436e-04f, 4.89352455891786e-03f})
    p = fma(p, square, Floats::all(c));
  for (const float c : {1.18534705686654e-04f, 2.26843463243900e-03f, 4.89352518554385e-03f})
    q = fma(q, square, Floats::all(c));
  return p * x / q;
}

template <class Floats>
struct RWKV7 {
  static constexpr size_t kRowsAtOnce = 4;  // whose sums need not wait for each other

  static void tanh(size_t n, float* x) {
    each<Floats>(n, [&](auto at) { at.store(x, tangent(at.load(x))); });
  }

  static void sigmoid(size_t n, float* x) {
    each<Floats>(n, [&](auto at) { at.store(x, lanes::sigmoid(at.load(x))); });
  }

  static void rate(const float* z0, size_t n, float* x) {
    each<Floats>(n, [&](auto at) { at.store(x, lanes::sigmoid(at.load(x) + at.load(z0))); });
  }

  static void decay(const float* w0, float scale, size_t n, float* w) {
    each<Floats>(
        n, [&](auto at) { at.store(w, exponential(lanes::sigmoid(at.load(w) + at.load(w0)) * Floats::all(scale))); });
  }

  static void blend(const float* first, const float* v0, const float* x, size_t n, float* v) {
    each<Floats>(n, [&](auto at) {
      const Floats value = at.load(v), opened = lanes::sigmoid(at.load(x) + at.load(v0));
      at.store(v, value + (at.load(first) - value) * opened);
    });
  }

  static void keys(const KeyWeights& w, const float* a, size_t n, float* k, float* kappa, float* rewritten) {
    Floats squares = Floats::all(0);
    each<Floats>(n, [&](auto at) {
      const Floats x = at.load(k) * at.load(w.k_k);
      squares = fma(x, x, squares);
      at.store(kappa, x);
    });
    const Floats length = Floats::all(std::max(std::sqrt(sum(squares)), w.shortest));
    each<Floats>(n, [&](auto at) {
      const Floats x = at.load(kappa) / length, rate = at.load(a);
      at.store(kappa, x);
      at.store(rewritten, Floats::all(0) - x * rate);
      at.store(k, at.load(k) * (at.load(w.k_a_rest) + rate * at.load(w.k_a)));
    });
  }

  // So many rows of S, from the i-th on: read once, and written once.
  template <size_t kRows>
  static void rewrite(const DeltaToken& x, size_t n, size_t i, const float* S, float* next, float* y) {
    Floats sums[kRows], dots[kRows], told[kRows], values[kRows];
    for (size_t row = 0; row < kRows; ++row) sums[row] = dots[row] = Floats::all(0);
    const float* before = S + i * n;
    each<Floats>(n, [&](auto at) {
      const Floats kappa = at.load(x.kappa);
      for (size_t row = 0; row < kRows; ++row) sums[row] = fma(at.load(before + row * n), kappa, sums[row]);
    });
    for (size_t row = 0; row < kRows; ++row) {
      told[row] = Floats::all(sum(sums[row]));
      values[row] = Floats::all(x.v[i + row]);
    }
    each<Floats>(n, [&](auto at) {
      const Floats w = at.load(x.w), rewritten = at.load(x.rewritten), k = at.load(x.k), r = at.load(x.r);
      for (size_t row = 0; row < kRows; ++row) {
        const Floats kept = fma(told[row], rewritten, at.load(before + row * n) * w);
        const Floats after = fma(values[row], k, kept);
        at.store(next + (i + row) * n, after);
        dots[row] = fma(after, r, dots[row]);
      }
    });
    for (size_t row = 0; row < kRows; ++row) y[i + row] = sum(dots[row]);
  }

  static void delta_rule(const DeltaToken& x, size_t n, const float* S, float* next, float* y) {
    size_t i = 0;
    for (; i + kRowsAtOnce <= n; i += kRowsAtOnce) rewrite<kRowsAtOnce>(x, n, i, S, next, y);
    for (; i < n; ++i) rewrite<1>(x, n, i, S, next, y);
  }

  static void give(const HeadOutput& of, const DeltaToken& x, float* y, const float* g, size_t n, float* o) {
    const auto count = static_cast<float>(n);
    Floats sums = Floats::all(0), bonuses = Floats::all(0);
    each<Floats>(n, [&](auto at) {
      sums = sums + at.load(y);
      bonuses = fma(at.load(x.r) * at.load(x.k), at.load(of.r_k), bonuses);
    });
    const Floats mean = Floats::all(sum(sums) / count), bonus = Floats::all(sum(bonuses));
    Floats squares = Floats::all(0);
    each<Floats>(n, [&](auto at) {
      at.store(y, at.load(y) - mean);
      const Floats d = at.load(y);  // 0 where there is no value
      squares = fma(d, d, squares);
    });
    const Floats inverse = Floats::all(1.0f / std::sqrt(sum(squares) / count + of.epsilon));
    each<Floats>(n, [&](auto at) {
      const Floats normal = fma(at.load(y) * inverse, at.load(of.gain), at.load(of.bias));
      at.store(o, fma(bonus, at.load(x.v), normal) * at.load(g));
    });
  }

  static constexpr RWKV7Kernels kTable = {tanh, sigmoid, rate, decay, blend, keys, delta_rule, give};
};

}  // namespace rrwkv::lanes
