// The recurrence of time-mix in its plain form, and the receptance's gate.
#pragma once

#include "threads.h"

namespace rrwkv {

struct Wkv {
  size_t channels;
  float least_exp, most_exp;
  const float *exp_u, *exp_minus_d;  // [C]
};

// Over the tokens of a run: k, v, r, gated [T, C]; state, next [2, C], A and B.
void run_wkv(const Wkv& w, const float* k, const float* v, const float* r, const float* state, size_t tokens,
             float* gated, float* next, const Threads& threads);

}  // namespace rrwkv
