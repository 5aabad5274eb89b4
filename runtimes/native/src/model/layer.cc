#include "model/layer.h"

#include <algorithm>

#include "exec/workspace.h"

namespace rrwkv {
namespace {

// LN(x) below the row before it: [1 + T, C].
const float* normalized(const float* x, const Norm& norm, float epsilon, size_t C, const float* before,
                        const Execution& exec) {
  float* h = workspace().h.of((1 + exec.tokens) * C);
  std::copy_n(before, C, h);
  exec.share(exec.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t)
      exec.kernels.rows.normalize(x + t * C, norm.gain, norm.bias, epsilon, C, h + (1 + t) * C);
  });
  return h;
}

// For each of some roles [T, C]: (h ⊙ a + h' ⊙ b) + M ⊙ c, of [roles, C].
float* mix(const float* h, const float* M, const Mix& of, size_t C, size_t roles, const Execution& exec) {
  float* mixes = workspace().mixes.of(roles * exec.tokens * C);
  exec.share(exec.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t role = 0; role < roles; ++role) {
      const Mix of_role{of.now + role * C, of.before + role * C, M ? of.recalled + role * C : nullptr};
      for (size_t t = begin; t < end; ++t) {
        const float *before = h + t * C, *now = before + C;
        const Mix x{now, before, M ? M + t * C : nullptr};
        exec.kernels.rows.mix(x, of_role, C, mixes + (role * exec.tokens + t) * C);
      }
    }
  });
  return mixes;
}

}  // namespace

void Layer::run(const float* x, const LayerRun& run, const Matrix* next, const Execution& exec, float* y) const {
  Workspace& m = workspace();
  const size_t C = w_.channels, T = exec.tokens;
  const float *h = normalized(x, w_.ln1, w_.epsilon, C, run.shift, exec), *M = nullptr;
  if (w_.medium) {
    w_.medium->run(h + C, run.medium, w_.key.get(), exec, m.recalled.of(T * C));
    M = m.recalled.data();
  }
  float* after = m.x.of(T * C);
  time_mix(h, M, run, exec, after);
  std::copy_n(h + T * C, C, run.new_shift);
  exec.share(T * C, kLine,
             [&](size_t begin, size_t end) { exec.kernels.rows.add(x + begin, end - begin, after + begin); });

  h = normalized(after, w_.ln2, w_.epsilon, C, run.shift + C, exec);
  float *r = m.r.of(T * C), *v = m.v.of(T * C);
  channel_mix(h, M, next, exec, r, v);
  std::copy_n(h + T * C, C, run.new_shift + C);
  exec.share(T * C, kLine, [&](size_t begin, size_t end) {
    exec.kernels.rows.add_gated(after + begin, r + begin, v + begin, end - begin, y + begin);
  });
}

// mixed = Woutput (σ(r) ⊙ wkv)
void Layer::time_mix(const float* h, const float* M, const LayerRun& run, const Execution& exec, float* mixed) const {
  Workspace& m = workspace();
  const size_t C = w_.channels, T = exec.tokens;
  const float* mixes = mix(h, M, w_.time, C, 3, exec);
  float *k = m.k.of(T * C), *v = m.v.of(T * C), *r = m.r.of(T * C);
  quantize(*w_.key, mixes, T, exec, m.activations[0]);
  quantize(*w_.value, mixes + T * C, T, exec, m.activations[1]);
  quantize(*w_.receptance, mixes + 2 * T * C, T, exec, m.activations[2]);
  const Product products[] = {{w_.key.get(), &m.activations[0], k},
                              {w_.value.get(), &m.activations[1], v},
                              {w_.receptance.get(), &m.activations[2], r}};
  multiply(products, 3, T, w_.output.get(), exec);
  if (exec.alone)
    exec.kernels.rows.wkv(w_.wkv, k, v, r, run.wkv, {0, C}, r, run.new_wkv);
  else
    run_wkv(exec.kernels, w_.wkv, k, v, r, run.wkv, T, r, run.new_wkv, exec.threads);
  quantize(*w_.output, r, T, exec, m.activations[0]);
  const Product output{w_.output.get(), &m.activations[0], mixed};
  multiply(&output, 1, T, w_.ffn_key.get(), exec);
}

// r, and v = Wvalue relu(k)²
void Layer::channel_mix(const float* h, const float* M, const Matrix* next, const Execution& exec, float* r,
                        float* v) const {
  Workspace& m = workspace();
  const size_t C = w_.channels, T = exec.tokens, F = w_.ffn_key->outputs;
  const float* mixes = mix(h, M, w_.channel, C, 2, exec);
  float* k = m.k.of(T * F);
  quantize(*w_.ffn_key, mixes, T, exec, m.activations[0]);
  quantize(*w_.ffn_receptance, mixes + T * C, T, exec, m.activations[1]);
  const Product products[] = {{w_.ffn_key.get(), &m.activations[0], k},
                              {w_.ffn_receptance.get(), &m.activations[1], r}};
  multiply(products, 2, T, w_.ffn_value.get(), exec);
  exec.share(T * F, kLine, [&](size_t begin, size_t end) { exec.kernels.rows.square_relu(end - begin, k + begin); });
  quantize(*w_.ffn_value, k, T, exec, m.activations[0]);
  const Product value{w_.ffn_value.get(), &m.activations[0], v};
  multiply(&value, 1, T, next, exec);
}

void Head::run(const float* x, const Matrix* next, const Execution& exec, float* logits) const {
  Workspace& m = workspace();
  const size_t C = w_.matrix->inputs;
  float* h = m.h.of(exec.tokens * C);
  exec.share(exec.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t)
      exec.kernels.rows.normalize(x + t * C, w_.ln_out.gain, w_.ln_out.bias, w_.epsilon, C, h + t * C);
  });
  quantize(*w_.matrix, h, exec.tokens, exec, m.activations[0]);
  const Product product{w_.matrix.get(), &m.activations[0], logits};
  multiply(&product, 1, exec.tokens, next, exec);
}

}  // namespace rrwkv
