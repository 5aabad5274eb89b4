// The heads of RWKV-5's and RWKV-6's time-mix: the decay of each token, the recurrence of S, and what they give.
#pragma once

#include "exec/execution.h"
#include "kernels/kernels.h"
#include "model/blocks.h"

namespace rrwkv::rwkv6 {

// Vectors are [C]: of head h from h N on. w: the decay of all tokens, or null; w0: what each token's own adds to.
struct HeadsWeights {
  size_t count, size;  // H, N
  const float *w, *w0, *u;
  GroupNorm norm;

  size_t channels() const { return count * size; }
};

// What the matrices give, all [T, C], and what is made of it in its place: o in r's. w: null where all tokens decay
// alike; g: null without a gate.
struct HeadsRun {
  float *r, *w;
  const float *k, *v, *g;
};

// S [H, N, N] before and after.
void run_heads(const HeadsWeights& w, const HeadsRun& x, const Recurrent& S, const Execution& exec);

}  // namespace rrwkv::rwkv6
