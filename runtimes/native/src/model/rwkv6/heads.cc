#include "model/rwkv6/heads.h"

#include "exec/scratch.h"
#include "model/heads.h"

namespace rrwkv::rwkv6 {
namespace {

void run_head(const HeadsWeights& w, const HeadsRun& x, const Recurrent& S, const Execution& exec, size_t head) {
  static thread_local Scratch<float> of_thread;
  const size_t N = w.size, C = w.channels(), c = head * N;
  const RWKV6Kernels& kernels = exec.kernels.rwkv6;
  const GroupNorm norm = w.norm.from(c);
  float* y = of_thread.of(N);
  const float* before = S.before + c * N;
  float* after = S.after + c * N;
  for (size_t at = c; at < exec.tokens * C; at += C) {
    if (x.w) kernels.decay(w.w0 + c, N, x.w + at);
    const DecayToken token{x.r + at, x.w ? x.w + at : w.w + c, x.k + at, x.v + at, w.u + c};
    kernels.recurrence(token, N, before, after, y);
    kernels.give(norm, y, x.g ? x.g + at : nullptr, N, x.r + at);
    before = after;
  }
}

}  // namespace

void run_heads(const HeadsWeights& w, const HeadsRun& x, const Recurrent& S, const Execution& exec) {
  share_heads(w.count, w.size, exec, [&](Span heads) {
    for (size_t head = heads.begin; head < heads.end; ++head) run_head(w, x, S, exec, head);
  });
}

}  // namespace rrwkv::rwkv6
