// One token of wkv over sixteen lanes.
#pragma once

#include "kernels/kernels.h"
#include "kernels/lanes/each.h"
#include "kernels/lanes/functions.h"

namespace rrwkv::lanes {

// Sixteen channels of a token, and what becomes of them.
template <class Floats>
struct WkvLanes {
  Floats k, v, A, B, p;           // p: pp
  Floats numerator, denominator;  // of wkv
};

// wkv = (A + exp(u + k) ⊙ v) / (B + exp(u + k)); A <- exp(-d) ⊙ A + exp(k) ⊙ v, B <- exp(-d) ⊙ B + exp(k)
template <class Floats>
void plain(const Wkv& w, Floats exp_u, Floats exp_minus_d, WkvLanes<Floats>& x) {
  const Floats b = min(max(exponential(x.k), Floats::all(w.least_exp)), Floats::all(w.most_exp));
  const Floats a = b * x.v;
  x.numerator = x.A + a * exp_u;
  x.denominator = x.B + b * exp_u;
  x.A = x.A * exp_minus_d + a;
  x.B = x.B * exp_minus_d + b;
}

// The same with the larger exponent taken out of all: pp <- max(pp - d, k).
template <class Floats>
void stable(Floats u, Floats d, WkvLanes<Floats>& x) {
  const Floats next = max(x.p - d, x.k);
  const Floats kept = exponential(x.p - next - d), added = exponential(x.k - next);
  const Floats with_bonus = x.k + u, larger = max(x.p, with_bonus);
  const Floats held = exponential(x.p - larger), now = exponential(with_bonus - larger);
  x.numerator = x.A * held + now * x.v;
  x.denominator = x.B * held + now;
  x.A = x.A * kept + added * x.v;
  x.B = x.B * kept + added;
  x.p = next;
}

template <class Floats>
void wkv_row(const Wkv& w, const float* k, const float* v, const float* r, WkvState state, Span channels, float* gated,
             NewWkvState next) {
  const size_t C = w.channels, from = channels.begin;
  each<Floats>(channels.end - from, [&](auto at) {
    at.i += from;
    WkvLanes<Floats> x{at.load(k), at.load(v), at.load(state.sums), at.load(state.sums + C), Floats::all(0), {}, {}};
    if (w.stable) {
      x.p = at.load(state.exponent);
      stable(at.load(w.bonus), at.load(w.decay), x);
      at.store(next.exponent, x.p);
    } else {
      plain(w, at.load(w.bonus), at.load(w.decay), x);
    }
    at.store(gated, sigmoid(at.load(r)) * (x.numerator / x.denominator));
    at.store(next.sums, x.A);
    at.store(next.sums + C, x.B);
  });
}

}  // namespace rrwkv::lanes
