// The heads of RWKV-7's time-mix: the rates of each token, the recurrence of S, and what they give.
#pragma once

#include "exec/execution.h"
#include "kernels/kernels.h"
#include "model/blocks.h"

namespace rrwkv::rwkv7 {

// Vectors are [C]: of head h from h N on. v0: null in layer 0.
struct HeadsWeights {
  size_t count, size;  // H, N
  const float *w0, *a0, *v0;
  float decay_scale;  // -e^(-1/2)
  KeyWeights keys;
  HeadOutput output;

  size_t channels() const { return count * size; }
};

// What the matrices give, all [T, C], and what is made of it in its place: o in r's. v_rate and v_first: null in layer
// 0.
struct HeadsRun {
  float *r, *w, *k, *v, *a;
  const float *g, *v_rate, *v_first;
};

// S [H, N, N] before and after.
void run_heads(const HeadsWeights& w, const HeadsRun& x, const Recurrent& S, const Execution& exec);

}  // namespace rrwkv::rwkv7
