#include "model/rwkv4/time_mix.h"

#include "exec/workspace.h"
#include "model/rwkv4/wkv.h"

namespace rrwkv::rwkv4 {

void TimeMix::run(const BlockInput& x, const Recurrent& state, const Matrix* next, const Execution& exec,
                  float* mixed) const {
  Workspace& m = workspace();
  const size_t C = w_.channels, T = exec.tokens;
  const float* mixes = mix(x, w_.mix, C, 3, exec);
  float *k = m.k.of(T * C), *v = m.v.of(T * C), *r = m.r.of(T * C);
  quantize(*w_.key, mixes, T, exec, m.activations[0]);
  quantize(*w_.value, mixes + T * C, T, exec, m.activations[1]);
  quantize(*w_.receptance, mixes + 2 * T * C, T, exec, m.activations[2]);
  const Product products[] = {{w_.key.get(), &m.activations[0], k},
                              {w_.value.get(), &m.activations[1], v},
                              {w_.receptance.get(), &m.activations[2], r}};
  multiply(products, 3, T, w_.output.get(), exec);
  const WkvState before{state.before, state.before + 2 * C};
  const NewWkvState after{state.after, state.after + 2 * C};
  if (exec.alone)
    exec.kernels.rows.wkv(w_.wkv, k, v, r, before, {0, C}, r, after);
  else
    run_wkv(exec.kernels, w_.wkv, k, v, r, before, T, r, after, exec.threads);
  quantize(*w_.output, r, T, exec, m.activations[0]);
  const Product output{w_.output.get(), &m.activations[0], mixed};
  multiply(&output, 1, T, next, exec);
}

}  // namespace rrwkv::rwkv4
