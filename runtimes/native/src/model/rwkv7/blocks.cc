#include "model/rwkv7/blocks.h"

#include "exec/workspace.h"

namespace rrwkv::rwkv7 {
namespace {

constexpr size_t kRoles = 6, kMostProducts = 7;

// Products of one kind of input after another, each with activations of its own.
struct Products {
  Product of[kMostProducts];
  size_t count = 0;
};

}  // namespace

struct TimeMix::Workspace {
  QuantizedActivations activations[kMostProducts];
  Scratch<float> w, a, g, v_rate, v_first;  // [T, C]
  Scratch<float> w_low, a_low, v_low, g_low;

  // x [T, …] for a matrix, and the product.
  void add(Products& products, const Matrix& by, const float* x, const Execution& exec, float* y) {
    QuantizedActivations& quantized = activations[products.count];
    quantize(by, x, exec.tokens, exec, quantized);
    products.of[products.count++] = {&by, &quantized, y};
  }
};

// All that the matrices give of the mixes [6, T, C].
HeadsRun TimeMix::project(const float* mixes, const Execution& exec, Workspace& m) const {
  rrwkv::Workspace& shared = workspace();
  const size_t T = exec.tokens, all = T * w_.heads.channels();
  const float *x_r = mixes, *x_w = x_r + all, *x_k = x_w + all, *x_v = x_k + all, *x_a = x_v + all, *x_g = x_a + all;
  float *r = shared.r.of(all), *k = shared.k.of(all), *v = w_.v ? shared.v.of(all) : m.v_first.of(all);
  const auto low = [T](Scratch<float>& of, const LowRank& by) { return of.of(T * by.down->outputs); };
  float *w_low = low(m.w_low, w_.w), *a_low = low(m.a_low, w_.a), *g_low = low(m.g_low, w_.g);
  Products first;
  m.add(first, *w_.receptance, x_r, exec, r);
  m.add(first, *w_.key, x_k, exec, k);
  m.add(first, *w_.value, x_v, exec, v);
  m.add(first, *w_.w.down, x_w, exec, w_low);
  m.add(first, *w_.a.down, x_a, exec, a_low);
  m.add(first, *w_.g.down, x_g, exec, g_low);
  if (w_.v) m.add(first, *w_.v.down, x_v, exec, low(m.v_low, w_.v));
  multiply(first.of, first.count, T, w_.w.up.get(), exec);

  const auto each = [&](const LowRank& of, void (*function)(size_t, float*), float* x) {
    exec.share(T * of.down->outputs, kLine, [=](size_t begin, size_t end) { function(end - begin, x + begin); });
  };
  each(w_.w, exec.kernels.rwkv7.tanh, w_low);
  each(w_.g, exec.kernels.rwkv7.sigmoid, g_low);
  float *w = m.w.of(all), *a = m.a.of(all), *g = m.g.of(all);
  Products second;
  m.add(second, *w_.w.up, w_low, exec, w);
  m.add(second, *w_.a.up, a_low, exec, a);
  m.add(second, *w_.g.up, g_low, exec, g);
  if (w_.v) m.add(second, *w_.v.up, m.v_low.data(), exec, m.v_rate.of(all));
  multiply(second.of, second.count, T, w_.output.get(), exec);
  return {r, w, k, v, a, g, w_.v ? m.v_rate.data() : nullptr, m.v_first.data()};
}

void TimeMix::run(const BlockInput& x, const Recurrent& state, const Matrix* next, const Execution& exec,
                  float* mixed) const {
  static thread_local Workspace of_thread;
  Workspace& m = of_thread;
  const HeadsRun heads = project(mix(x, w_.mix, w_.heads.channels(), kRoles, exec), exec, m);
  run_heads(w_.heads, heads, state, exec);
  quantize(*w_.output, heads.r, exec.tokens, exec, m.activations[0]);
  const Product output{w_.output.get(), &m.activations[0], mixed};
  multiply(&output, 1, exec.tokens, next, exec);
}

void ChannelMix::run(const BlockInput& of, const float* x, const Matrix* next, const Execution& exec, float* y) const {
  rrwkv::Workspace& m = workspace();
  const size_t C = w_.channels, T = exec.tokens, F = w_.key->outputs;
  float* k = m.k.of(T * F);
  quantize(*w_.key, mix(of, w_.mix, C, 1, exec), T, exec, m.activations[0]);
  const Product key{w_.key.get(), &m.activations[0], k};
  multiply(&key, 1, T, w_.value.get(), exec);
  exec.share(T * F, kLine, [&](size_t begin, size_t end) { exec.kernels.rows.square_relu(end - begin, k + begin); });
  quantize(*w_.value, k, T, exec, m.activations[0]);
  const Product value{w_.value.get(), &m.activations[0], y};
  multiply(&value, 1, T, next, exec);
  exec.share(T * C, kLine, [&](size_t begin, size_t end) { exec.kernels.rows.add(x + begin, end - begin, y + begin); });
}

}  // namespace rrwkv::rwkv7
