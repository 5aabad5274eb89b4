#include "model/channel_mix.h"

#include "exec/workspace.h"

namespace rrwkv {

void ChannelMix::run(const BlockInput& of, const float* x, const Matrix* next, const Execution& exec, float* y) const {
  Workspace& m = workspace();
  const size_t C = w_.channels, T = exec.tokens, F = w_.key->outputs, roles = w_.receptance ? 2 : 1;
  const float* mixes = mix(of, w_.mix, C, roles, exec);
  float *k = m.k.of(T * F), *r = m.r.of(T * C), *v = w_.receptance ? m.v.of(T * C) : y;
  quantize(*w_.key, mixes, T, exec, m.activations[0]);
  if (w_.receptance) quantize(*w_.receptance, mixes + T * C, T, exec, m.activations[1]);
  const Product products[] = {{w_.key.get(), &m.activations[0], k}, {w_.receptance.get(), &m.activations[1], r}};
  multiply(products, roles, T, w_.value.get(), exec);
  exec.share(T * F, kLine, [&](size_t begin, size_t end) { exec.kernels.rows.square_relu(end - begin, k + begin); });
  quantize(*w_.value, k, T, exec, m.activations[0]);
  const Product value{w_.value.get(), &m.activations[0], v};
  multiply(&value, 1, T, next, exec);
  exec.share(T * C, kLine, [&](size_t begin, size_t end) {
    if (w_.receptance)
      exec.kernels.rows.add_gated(x + begin, r + begin, v + begin, end - begin, y + begin);
    else
      exec.kernels.rows.add(x + begin, end - begin, y + begin);
  });
}

}  // namespace rrwkv
