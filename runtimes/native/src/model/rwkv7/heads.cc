#include "model/rwkv7/heads.h"

#include "exec/scratch.h"
#include "model/heads.h"

namespace rrwkv::rwkv7 {
namespace {

// The rates of some channels of a token.
void open(const HeadsWeights& w, const HeadsRun& x, const RWKV7Kernels& kernels, size_t t, Span channels) {
  const size_t c = channels.begin, n = channels.end - c, at = t * w.channels() + c;
  kernels.decay(w.w0 + c, w.decay_scale, n, x.w + at);
  kernels.rate(w.a0 + c, n, x.a + at);
  if (w.v0) kernels.blend(x.v_first + at, w.v0 + c, x.v_rate + at, n, x.v + at);
}

// One head over all tokens, whose S stays in the first cache.
void run_head(const HeadsWeights& w, const HeadsRun& x, const Recurrent& S, const Execution& exec, size_t head) {
  static thread_local Scratch<float> of_thread;
  const size_t N = w.size, C = w.channels(), c = head * N;
  const RWKV7Kernels& kernels = exec.kernels.rwkv7;
  const KeyWeights keys{w.keys.k_k + c, w.keys.k_a + c, w.keys.k_a_rest + c, w.keys.shortest};
  const HeadOutput output{w.output.norm.from(c), w.output.r_k + c};
  const size_t apart = padded(N, kLine);
  float *kappa = of_thread.of(3 * apart), *rewritten = kappa + apart, *y = rewritten + apart;
  const float* before = S.before + c * N;
  float* after = S.after + c * N;
  for (size_t at = c; at < exec.tokens * C; at += C) {
    kernels.keys(keys, x.a + at, N, x.k + at, kappa, rewritten);
    const DeltaToken token{x.r + at, x.w + at, x.k + at, x.v + at, kappa, rewritten};
    kernels.delta_rule(token, N, before, after, y);
    kernels.give(output, token, y, x.g + at, N, x.r + at);
    before = after;
  }
}

}  // namespace

void run_heads(const HeadsWeights& w, const HeadsRun& x, const Recurrent& S, const Execution& exec) {
  share_heads(w.count, w.size, exec, [&](Span heads) {
    const Span channels{heads.begin * w.size, heads.end * w.size};
    for (size_t t = 0; t < exec.tokens; ++t) open(w, x, exec.kernels.rwkv7, t, channels);
    for (size_t head = heads.begin; head < heads.end; ++head) run_head(w, x, S, exec, head);
  });
}

}  // namespace rrwkv::rwkv7
