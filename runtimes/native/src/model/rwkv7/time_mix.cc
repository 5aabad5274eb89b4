#include "model/rwkv7/time_mix.h"

#include "exec/workspace.h"

namespace rrwkv::rwkv7 {

struct TimeMix::Workspace {
  QuantizedActivations activations[kMostProducts];
  Scratch<float> w, a, g, v_rate, v_first;  // [T, C]
  Scratch<float> w_low, a_low, v_low, g_low;
};

// All that the matrices give of the mixes [6, T, C].
HeadsRun TimeMix::project(const float* mixes, const Execution& exec, Workspace& m) const {
  rrwkv::Workspace& shared = workspace();
  const size_t T = exec.tokens, all = T * w_.heads.channels();
  const float *x_r = mixes, *x_w = x_r + all, *x_k = x_w + all, *x_v = x_k + all, *x_a = x_v + all, *x_g = x_a + all;
  float *r = shared.r.of(all), *k = shared.k.of(all), *v = w_.v ? shared.v.of(all) : m.v_first.of(all);
  const auto low = [T](Scratch<float>& of, const LowRank& by) { return of.of(T * by.rank()); };
  float *w_low = low(m.w_low, w_.w), *a_low = low(m.a_low, w_.a), *g_low = low(m.g_low, w_.g);
  Products first(m.activations);
  first.add(*w_.receptance, x_r, exec, r);
  first.add(*w_.key, x_k, exec, k);
  first.add(*w_.value, x_v, exec, v);
  first.add(*w_.w.down, x_w, exec, w_low);
  first.add(*w_.a.down, x_a, exec, a_low);
  first.add(*w_.g.down, x_g, exec, g_low);
  if (w_.v) first.add(*w_.v.down, x_v, exec, low(m.v_low, w_.v));
  first.multiply(w_.w.up.get(), exec);

  const auto each = [&](const LowRank& of, void (*function)(size_t, float*), float* x) {
    exec.share(T * of.rank(), kLine, [=](size_t begin, size_t end) { function(end - begin, x + begin); });
  };
  each(w_.w, exec.kernels.rows.tanh, w_low);
  each(w_.g, exec.kernels.rows.sigmoid, g_low);
  float *w = m.w.of(all), *a = m.a.of(all), *g = m.g.of(all);
  Products second(m.activations);
  second.add(*w_.w.up, w_low, exec, w);
  second.add(*w_.a.up, a_low, exec, a);
  second.add(*w_.g.up, g_low, exec, g);
  if (w_.v) second.add(*w_.v.up, m.v_low.data(), exec, m.v_rate.of(all));
  second.multiply(w_.output.get(), exec);
  return {r, w, k, v, a, g, w_.v ? m.v_rate.data() : nullptr, m.v_first.data()};
}

void TimeMix::run(const BlockInput& x, const Recurrent& state, const Matrix* next, const Execution& exec,
                  float* mixed) const {
  static thread_local Workspace of_thread;
  Workspace& m = of_thread;
  const HeadsRun heads = project(mix(x, w_.mix, w_.heads.channels(), 6, exec), exec, m);
  run_heads(w_.heads, heads, state, exec);
  Products output(m.activations);
  output.add(*w_.output, heads.r, exec, mixed);
  output.multiply(next, exec);
}

}  // namespace rrwkv::rwkv7
