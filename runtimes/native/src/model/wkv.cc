#include "kernels/avx512/wkv_row.h"

namespace rrwkv {

void run_wkv(const Wkv& w, const float* k, const float* v, const float* r, WkvState state, size_t tokens, float* gated,
             NewWkvState next, const Threads& threads) {
  const size_t C = w.channels;
  threads.share(threads.count, [&](size_t i) {
    const auto [begin, end] = part_of(i, threads.count, C, kLanes);
    WkvState before = state;
    for (size_t t = 0; t < tokens * C; t += C) {
      run_row(w, k + t, v + t, r + t, before, begin, end, gated + t, next);
      before = {next.sums, next.exponent};
    }
  });
}

}  // namespace rrwkv
