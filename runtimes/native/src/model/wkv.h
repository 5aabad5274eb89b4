// The recurrence of time-mix, in both forms that a graph holds it in, and the receptance's gate.
#pragma once

#include "exec/threads.h"

namespace rrwkv {

// plain: bonus exp(u), decay exp(-d), exponentials of keys clipped. stable: u and d themselves.
struct Wkv {
  size_t channels;
  bool stable;
  float least_exp, most_exp;
  const float *bonus, *decay;  // [C]
};

// A and B [2, C]; in the stable form aa and bb, and pp [C], with A = aa exp(pp), B = bb exp(pp).
struct WkvState {
  const float *sums, *exponent;
};
struct NewWkvState {
  float *sums, *exponent;
};

// Over the tokens of a run: k, v, r, gated [T, C].
void run_wkv(const Wkv& w, const float* k, const float* v, const float* r, WkvState state, size_t tokens, float* gated,
             NewWkvState next, const Threads& threads);

}  // namespace rrwkv
