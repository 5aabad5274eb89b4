#include "model/rwkv4/wkv.h"

namespace rrwkv {

void run_wkv(const Kernels& kernels, const Wkv& w, const float* k, const float* v, const float* r, WkvState state,
             size_t tokens, float* gated, NewWkvState next, const Threads& threads) {
  const size_t C = w.channels;
  threads.share(threads.count, [&](size_t i) {
    const Span channels = part_of(i, threads.count, C, kLine);
    WkvState before = state;
    for (size_t t = 0; t < tokens * C; t += C) {
      kernels.rows.wkv(w, k + t, v + t, r + t, before, channels, gated + t, next);
      before = {next.sums, next.exponent};
    }
  });
}

}  // namespace rrwkv
