// The recurrence of time-mix over tokens, and the receptance's gate.
#pragma once

#include "exec/threads.h"
#include "kernels/kernels.h"

namespace rrwkv {

// Over the tokens of a run: k, v, r, gated [T, C].
void run_wkv(const Kernels& kernels, const Wkv& w, const float* k, const float* v, const float* r, WkvState state,
             size_t tokens, float* gated, NewWkvState next, const Threads& threads);

}  // namespace rrwkv
