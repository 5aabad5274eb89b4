// RWKV7Kernels over sixteen lanes.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"
#include "kernels/lanes/each.h"
#include "kernels/lanes/functions.h"
#include "kernels/lanes/group_norm.h"

namespace rrwkv::lanes {

template <class Floats>
struct RWKV7 {
  static constexpr size_t kRowsAtOnce = 4;  // whose sums need not wait for each other

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
    Floats bonuses = Floats::all(0);
    each<Floats>(n, [&](auto at) { bonuses = fma(at.load(x.r) * at.load(x.k), at.load(of.r_k), bonuses); });
    const Floats bonus = Floats::all(sum(bonuses));
    group_norm<Floats>(of.norm, n, y,
                       [&](auto at, Floats normal) { at.store(o, fma(bonus, at.load(x.v), normal) * at.load(g)); });
  }

  static constexpr RWKV7Kernels kTable = {rate, decay, blend, keys, delta_rule, give};
};

}  // namespace rrwkv::lanes
