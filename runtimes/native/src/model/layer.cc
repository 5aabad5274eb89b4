#include "model/layer.h"

#include <algorithm>

#include "kernels/avx512/vectors.h"
#include "kernels/avx512/wkv_row.h"

namespace rrwkv {
namespace {

// What one thread keeps for the layers that it runs: [T, …] each, and h with the row before the first.
struct Memory {
  Rounded rounded[3];
  Scratch<float> h, x, recalled, mixes, k, v, r;
};

Memory& memory() {
  static thread_local Memory of_thread;
  return of_thread;
}

// LN(x) below the row before it: [1 + T, C].
const float* normalized(const float* x, const Norm& norm, float epsilon, size_t C, const float* before,
                        const Work& work) {
  float* h = memory().h.of((1 + work.tokens) * C);
  std::copy_n(before, C, h);
  work.share(work.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) normalize(x + t * C, norm.gain, norm.bias, epsilon, C, h + (1 + t) * C);
  });
  return h;
}

// For each of some roles [T, C]: (h ⊙ a + h' ⊙ b) + M ⊙ c.
float* mix(const float* h, const float* a, const float* b, const float* M, const float* c, size_t C, size_t roles,
           const Work& work) {
  float* mixes = memory().mixes.of(roles * work.tokens * C);
  work.share(work.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t role = 0; role < roles; ++role) {
      const float *of_now = a + role * C, *of_before = b + role * C;
      for (size_t t = begin; t < end; ++t) {
        const float *before = h + t * C, *now = before + C;
        float* y = mixes + (role * work.tokens + t) * C;
        for (size_t i = 0; i < C; ++i) y[i] = now[i] * of_now[i] + before[i] * of_before[i];
        if (M)
          for (size_t i = 0; i < C; ++i) y[i] += M[t * C + i] * c[role * C + i];
      }
    }
  });
  return mixes;
}

}  // namespace

void Layer::run(const float* x, const LayerRun& run, const Matrix* next, const Work& work, float* y) const {
  Memory& m = memory();
  const size_t C = w_.channels, T = work.tokens;
  const float *h = normalized(x, w_.ln1, w_.epsilon, C, run.shift, work), *M = nullptr;
  if (w_.medium) {
    w_.medium->run(h + C, run.medium, w_.key.get(), work, m.recalled.of(T * C));
    M = m.recalled.data();
  }
  float* after = m.x.of(T * C);
  time_mix(h, M, run, work, after);
  std::copy_n(h + T * C, C, run.new_shift);
  work.share(T * C, kLanes, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) after[i] += x[i];
  });

  h = normalized(after, w_.ln2, w_.epsilon, C, run.shift + C, work);
  float *r = m.r.of(T * C), *v = m.v.of(T * C);
  channel_mix(h, M, next, work, r, v);
  std::copy_n(h + T * C, C, run.new_shift + C);
  work.share(T * C, kLanes, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i += kLanes) {
      const __mmask16 mask = lanes(end - i);
      const auto load = [mask, i](const float* from) { return _mm512_maskz_loadu_ps(mask, from + i); };
      _mm512_mask_storeu_ps(y + i, mask, _mm512_add_ps(load(after), _mm512_mul_ps(sigmoid(load(r)), load(v))));
    }
  });
}

// mixed = Woutput (σ(r) ⊙ wkv)
void Layer::time_mix(const float* h, const float* M, const LayerRun& run, const Work& work, float* mixed) const {
  Memory& m = memory();
  const size_t C = w_.channels, T = work.tokens;
  const float* mixes = mix(h, w_.time_now, w_.time_before, M, w_.time_recalled, C, 3, work);
  float *k = m.k.of(T * C), *v = m.v.of(T * C), *r = m.r.of(T * C);
  work.round(*w_.key, mixes, T, m.rounded[0]);
  work.round(*w_.value, mixes + T * C, T, m.rounded[1]);
  work.round(*w_.receptance, mixes + 2 * T * C, T, m.rounded[2]);
  const Product products[] = {
      {w_.key.get(), &m.rounded[0], k}, {w_.value.get(), &m.rounded[1], v}, {w_.receptance.get(), &m.rounded[2], r}};
  work.multiply(products, 3, T, w_.output.get());
  if (work.alone)
    run_row(w_.wkv, k, v, r, run.wkv, 0, C, r, run.new_wkv);
  else
    run_wkv(w_.wkv, k, v, r, run.wkv, T, r, run.new_wkv, work.threads);
  work.round(*w_.output, r, T, m.rounded[0]);
  const Product output{w_.output.get(), &m.rounded[0], mixed};
  work.multiply(&output, 1, T, w_.ffn_key.get());
}

// r, and v = Wvalue relu(k)²
void Layer::channel_mix(const float* h, const float* M, const Matrix* next, const Work& work, float* r,
                        float* v) const {
  Memory& m = memory();
  const size_t C = w_.channels, T = work.tokens, F = w_.ffn_key->outputs;
  const float* mixes = mix(h, w_.channel_now, w_.channel_before, M, w_.channel_recalled, C, 2, work);
  float* k = m.k.of(T * F);
  work.round(*w_.ffn_key, mixes, T, m.rounded[0]);
  work.round(*w_.ffn_receptance, mixes + T * C, T, m.rounded[1]);
  const Product products[] = {{w_.ffn_key.get(), &m.rounded[0], k}, {w_.ffn_receptance.get(), &m.rounded[1], r}};
  work.multiply(products, 2, T, w_.ffn_value.get());
  work.share(T * F, kLanes, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) k[i] = k[i] > 0 ? k[i] * k[i] : 0;
  });
  work.round(*w_.ffn_value, k, T, m.rounded[0]);
  const Product value{w_.ffn_value.get(), &m.rounded[0], v};
  work.multiply(&value, 1, T, next);
}

void Head::run(const float* x, const Matrix* next, const Work& work, float* logits) const {
  Memory& m = memory();
  const size_t C = w_.matrix->inputs;
  float* h = m.h.of(work.tokens * C);
  work.share(work.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) normalize(x + t * C, w_.ln_out.gain, w_.ln_out.bias, w_.epsilon, C, h + t * C);
  });
  work.round(*w_.matrix, h, work.tokens, m.rounded[0]);
  const Product product{w_.matrix.get(), &m.rounded[0], logits};
  work.multiply(&product, 1, work.tokens, next);
}

}  // namespace rrwkv
