#include "model/rwkv6/time_mix.h"

#include <algorithm>

#include "exec/workspace.h"

namespace rrwkv::rwkv6 {

struct TimeMix::Workspace {
  QuantizedActivations activations[kMostProducts];
  Scratch<float> low, rows, moves;  // [T, 5 rank], [5, T, rank], [5, T, C]
  Scratch<float> w, w_low, g;
};

// x_q = mix(q) + d ⊙ M_q, in the place of the mixes.
void TimeMix::move(float* mixes, const Execution& exec, Workspace& m) const {
  const size_t T = exec.tokens, R = w_.moves.rank(), all = T * w_.heads.channels();
  float *low = m.low.of(T * kMoved * R), *rows = m.rows.of(kMoved * T * R), *moves = m.moves.of(kMoved * all);
  Products down(m.activations);
  down.add(*w_.moves.down, mixes, exec, low);
  down.multiply(w_.moves.up[0].get(), exec);
  exec.share(T, 1, [&](size_t begin, size_t end) {
    exec.kernels.rows.tanh((end - begin) * kMoved * R, low + begin * kMoved * R);
    for (size_t t = begin; t < end; ++t)
      for (size_t q = 0; q < kMoved; ++q) std::copy_n(low + (t * kMoved + q) * R, R, rows + (q * T + t) * R);
  });
  Products up(m.activations);
  for (size_t q = 0; q < kMoved; ++q) up.add(*w_.moves.up[q], rows + q * T * R, exec, moves + q * all);
  up.multiply(w_.key.get(), exec);
  float *moved = mixes + all, *d = moved + kMoved * all;
  exec.share(all, kLine, [&](size_t begin, size_t end) {
    for (size_t at = begin, q = 0; q < kMoved; ++q, at += all)
      exec.kernels.rwkv6.move(d + begin, moves + at, end - begin, moved + at);
  });
}

// All that the matrices give of the mixes k, v, r, g [4, T, C], in RWKV-6 after w.
HeadsRun TimeMix::project(const float* mixes, const Execution& exec, Workspace& m) const {
  rrwkv::Workspace& shared = workspace();
  const size_t T = exec.tokens, all = T * w_.heads.channels();
  const float *x_k = w_.w ? mixes + all : mixes, *x_v = x_k + all, *x_r = x_v + all, *x_g = x_r + all;
  float *k = shared.k.of(all), *v = shared.v.of(all), *r = shared.r.of(all);
  float *g = w_.gate ? m.g.of(all) : nullptr, *w = w_.w ? m.w.of(all) : nullptr;
  Products first(m.activations);
  first.add(*w_.key, x_k, exec, k);
  first.add(*w_.value, x_v, exec, v);
  first.add(*w_.receptance, x_r, exec, r);
  if (w_.gate) first.add(*w_.gate, x_g, exec, g);
  if (!w_.w) {
    first.multiply(w_.output.get(), exec);
    return {r, nullptr, k, v, g};
  }
  float* w_low = m.w_low.of(T * w_.w.rank());
  first.add(*w_.w.down, mixes, exec, w_low);
  first.multiply(w_.w.up.get(), exec);
  exec.share(T * w_.w.rank(), kLine,
             [&](size_t begin, size_t end) { exec.kernels.rows.tanh(end - begin, w_low + begin); });
  Products second(m.activations);
  second.add(*w_.w.up, w_low, exec, w);
  second.multiply(w_.output.get(), exec);
  return {r, w, k, v, g};
}

void TimeMix::run(const BlockInput& x, const Recurrent& state, const Matrix* next, const Execution& exec,
                  float* mixed) const {
  static thread_local Workspace of_thread;
  Workspace& m = of_thread;
  const size_t C = w_.heads.channels(), roles = w_.moves ? kMoved + 2 : w_.gate ? 4 : 3;
  float* mixes = mix(x, w_.mix, C, roles, exec);
  if (w_.moves) {
    move(mixes, exec, m);
    mixes += exec.tokens * C;  // x is used
  }
  const HeadsRun heads = project(mixes, exec, m);
  run_heads(w_.heads, heads, state, exec);
  Products output(m.activations);
  output.add(*w_.output, heads.r, exec, mixed);
  output.multiply(next, exec);
}

}  // namespace rrwkv::rwkv6
