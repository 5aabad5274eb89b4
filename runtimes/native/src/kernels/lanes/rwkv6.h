// RWKV6Kernels over sixteen lanes.
#pragma once

#include "kernels/kernels.h"
#include "kernels/lanes/each.h"
#include "kernels/lanes/functions.h"
#include "kernels/lanes/group_norm.h"

namespace rrwkv::lanes {

template <class Floats>
struct RWKV6 {
  static constexpr size_t kVectors = 4;  // columns of S, in lanes, whose y stay in registers over its rows

  static void move(const float* d, const float* m, size_t n, float* x) {
    each<Floats>(n, [&](auto at) { at.store(x, at.load(x) + at.load(d) * at.load(m)); });
  }

  static void decay(const float* w0, size_t n, float* w) {
    each<Floats>(n, [&](auto at) { at.store(w, exponential(Floats::all(0) - exponential(at.load(w) + at.load(w0)))); });
  }

  // Some columns of S, of which `at` is the first: read once, and written once.
  template <size_t kCount, class At>
  static void columns(const DecayToken& x, size_t n, At at, Floats bonus, const float* S, float* next, float* y) {
    Floats sums[kCount];
    const auto part = [at](size_t c) {
      At of = at;
      of.i += c * kLanes;
      return of;
    };
    for (size_t c = 0; c < kCount; ++c) sums[c] = Floats::all(0);
    for (size_t i = 0; i < n; ++i) {
      const Floats r = Floats::all(x.r[i]), w = Floats::all(x.w[i]), k = Floats::all(x.k[i]);
      for (size_t c = 0; c < kCount; ++c) {
        const Floats before = part(c).load(S + i * n);
        sums[c] = fma(r, before, sums[c]);
        part(c).store(next + i * n, fma(k, part(c).load(x.v), before * w));
      }
    }
    for (size_t c = 0; c < kCount; ++c) part(c).store(y, fma(bonus, part(c).load(x.v), sums[c]));
  }

  static void recurrence(const DecayToken& x, size_t n, const float* S, float* next, float* y) {
    Floats bonuses = Floats::all(0);
    each<Floats>(n, [&](auto at) { bonuses = fma(at.load(x.r) * at.load(x.k), at.load(x.u), bonuses); });
    const Floats bonus = Floats::all(sum(bonuses));
    constexpr size_t kWidth = kVectors * kLanes;
    size_t j = 0;
    for (; j + kWidth <= n; j += kWidth) columns<kVectors>(x, n, Whole<Floats>{j}, bonus, S, next, y);
    each<Floats>(n - j, [&](auto at) {
      at.i += j;
      columns<1>(x, n, at, bonus, S, next, y);
    });
  }

  static void give(const GroupNorm& of, float* y, const float* g, size_t n, float* o) {
    group_norm<Floats>(of, n, y, [&](auto at, Floats normal) {
      if (g) {
        const Floats gate = at.load(g);
        normal = normal * (gate * sigmoid(gate));
      }
      at.store(o, normal);
    });
  }

  static constexpr RWKV6Kernels kTable = {move, decay, recurrence, give};
};

}  // namespace rrwkv::lanes
