#include "model/layer.h"

#include <algorithm>

#include "exec/workspace.h"
#include "kernels/avx512/vectors.h"
#include "kernels/avx512/wkv_row.h"

namespace rrwkv {
namespace {

// LN(x) below the row before it: [1 + T, C].
const float* normalized(const float* x, const Norm& norm, float epsilon, size_t C, const float* before,
                        const Execution& exec) {
  float* h = workspace().h.of((1 + exec.tokens) * C);
  std::copy_n(before, C, h);
  exec.share(exec.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) normalize(x + t * C, norm.gain, norm.bias, epsilon, C, h + (1 + t) * C);
  });
  return h;
}

// For each of some roles [T, C]: (h ⊙ a + h' ⊙ b) + M ⊙ c.
float* mix(const float* h, const float* a, const float* b, const float* M, const float* c, size_t C, size_t roles,
           const Execution& exec) {
  float* mixes = workspace().mixes.of(roles * exec.tokens * C);
  exec.share(exec.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t role = 0; role < roles; ++role) {
      const float *of_now = a + role * C, *of_before = b + role * C;
      for (size_t t = begin; t < end; ++t) {
        const float *before = h + t * C, *now = before + C;
        float* y = mixes + (role * exec.tokens + t) * C;
        for (size_t i = 0; i < C; ++i) y[i] = now[i] * of_now[i] + before[i] * of_before[i];
        if (M)
          for (size_t i = 0; i < C; ++i) y[i] += M[t * C + i] * c[role * C + i];
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
  exec.share(T * C, kLanes, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) after[i] += x[i];
  });

  h = normalized(after, w_.ln2, w_.epsilon, C, run.shift + C, exec);
  float *r = m.r.of(T * C), *v = m.v.of(T * C);
  channel_mix(h, M, next, exec, r, v);
  std::copy_n(h + T * C, C, run.new_shift + C);
  exec.share(T * C, kLanes, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i += kLanes) {
      const __mmask16 mask = lanes(end - i);
      const auto load = [mask, i](const float* from) { return _mm512_maskz_loadu_ps(mask, from + i); };
      _mm512_mask_storeu_ps(y + i, mask, _mm512_add_ps(load(after), _mm512_mul_ps(sigmoid(load(r)), load(v))));
    }
  });
}

// mixed = Woutput (σ(r) ⊙ wkv)
void Layer::time_mix(const float* h, const float* M, const LayerRun& run, const Execution& exec, float* mixed) const {
  Workspace& m = workspace();
  const size_t C = w_.channels, T = exec.tokens;
  const float* mixes = mix(h, w_.time_now, w_.time_before, M, w_.time_recalled, C, 3, exec);
  float *k = m.k.of(T * C), *v = m.v.of(T * C), *r = m.r.of(T * C);
  exec.quantize(*w_.key, mixes, T, m.activations[0]);
  exec.quantize(*w_.value, mixes + T * C, T, m.activations[1]);
  exec.quantize(*w_.receptance, mixes + 2 * T * C, T, m.activations[2]);
  const Product products[] = {{w_.key.get(), &m.activations[0], k},
                              {w_.value.get(), &m.activations[1], v},
                              {w_.receptance.get(), &m.activations[2], r}};
  exec.multiply(products, 3, T, w_.output.get());
  if (exec.alone)
    run_row(w_.wkv, k, v, r, run.wkv, 0, C, r, run.new_wkv);
  else
    run_wkv(w_.wkv, k, v, r, run.wkv, T, r, run.new_wkv, exec.threads);
  exec.quantize(*w_.output, r, T, m.activations[0]);
  const Product output{w_.output.get(), &m.activations[0], mixed};
  exec.multiply(&output, 1, T, w_.ffn_key.get());
}

// r, and v = Wvalue relu(k)²
void Layer::channel_mix(const float* h, const float* M, const Matrix* next, const Execution& exec, float* r,
                        float* v) const {
  Workspace& m = workspace();
  const size_t C = w_.channels, T = exec.tokens, F = w_.ffn_key->outputs;
  const float* mixes = mix(h, w_.channel_now, w_.channel_before, M, w_.channel_recalled, C, 2, exec);
  float* k = m.k.of(T * F);
  exec.quantize(*w_.ffn_key, mixes, T, m.activations[0]);
  exec.quantize(*w_.ffn_receptance, mixes + T * C, T, m.activations[1]);
  const Product products[] = {{w_.ffn_key.get(), &m.activations[0], k},
                              {w_.ffn_receptance.get(), &m.activations[1], r}};
  exec.multiply(products, 2, T, w_.ffn_value.get());
  exec.share(T * F, kLanes, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) k[i] = k[i] > 0 ? k[i] * k[i] : 0;
  });
  exec.quantize(*w_.ffn_value, k, T, m.activations[0]);
  const Product value{w_.ffn_value.get(), &m.activations[0], v};
  exec.multiply(&value, 1, T, next);
}

void Head::run(const float* x, const Matrix* next, const Execution& exec, float* logits) const {
  Workspace& m = workspace();
  const size_t C = w_.matrix->inputs;
  float* h = m.h.of(exec.tokens * C);
  exec.share(exec.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) normalize(x + t * C, w_.ln_out.gain, w_.ln_out.bias, w_.epsilon, C, h + t * C);
  });
  exec.quantize(*w_.matrix, h, exec.tokens, m.activations[0]);
  const Product product{w_.matrix.get(), &m.activations[0], logits};
  exec.multiply(&product, 1, exec.tokens, next);
}

}  // namespace rrwkv
