#include "layer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "vectors.h"
#include "wkv_row.h"

namespace rrwkv {
namespace {

constexpr size_t kStride = 128;       // onnxruntime's products sum so many rows, and then these sums
constexpr size_t kWorthIt = 1 << 15;  // values to read before several threads read them faster

// What one thread keeps for the layers that it runs.
struct Memory {
  Rounded rounded[3];
  Scratch<float> mix, k, v, r, x, recalled, scores;
};

Memory& memory() {
  static thread_local Memory of_thread;
  return of_thread;
}

// For each of some roles: (h ⊙ a + h' ⊙ b) + M ⊙ c.
void mix(const float* h, const float* a, const float* before, const float* b, const float* M, const float* c, size_t n,
         size_t roles, float* y) {
  for (size_t role = 0; role < roles; ++role, a += n, b += n, c += n, y += n) {
    for (size_t i = 0; i < n; ++i) y[i] = h[i] * a[i] + before[i] * b[i];
    if (M)
      for (size_t i = 0; i < n; ++i) y[i] += M[i] * c[i];
  }
}

// Σ_k x[k] rows[k][begin..end): fused, k after k, in onnxruntime's order.
void weighted_rows(const float* x, const float* rows, size_t count, size_t stride, Span columns, float* y) {
  for (size_t n = columns.begin; n < columns.end; n += kLanes) {
    const __mmask16 mask = lanes(columns.end - n);
    __m512 total = _mm512_setzero_ps();
    for (size_t first = 0; first < count; first += kStride) {
      __m512 sum = _mm512_setzero_ps();
      for (size_t k = first; k < std::min(first + kStride, count); ++k)
        sum = _mm512_fmadd_ps(_mm512_set1_ps(x[k]), _mm512_maskz_loadu_ps(mask, rows + k * stride + n), sum);
      total = first ? _mm512_add_ps(sum, total) : sum;
    }
    _mm512_mask_storeu_ps(y + n, mask, total);
  }
}

// rows [count, n] times x, in the same order.
void scores_of(const float* x, const float* rows, size_t count, size_t n, float* y) {
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i offset = _mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int>(n)));
  for (size_t k = 0; k < count; k += kLanes) {
    const __mmask16 mask = lanes(count - k);
    __m512 total = _mm512_setzero_ps();
    for (size_t first = 0; first < n; first += kStride) {
      __m512 sum = _mm512_setzero_ps();
      for (size_t i = first; i < std::min(first + kStride, n); ++i) {
        const __m512 column = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, offset, rows + k * n + i, 4);
        sum = _mm512_fmadd_ps(_mm512_set1_ps(x[i]), column, sum);
      }
      total = first ? _mm512_add_ps(sum, total) : sum;
    }
    _mm512_mask_storeu_ps(y + k, mask, total);
  }
}

// The softmax of [0, scores] + mask in double; the empty slot's share is left out.
void attend(float* scores, const float* mask, size_t slots) {
  double most = mask[0], sum = 0;
  for (size_t k = 0; k < slots; ++k) most = std::max<double>(most, scores[k] + mask[1 + k]);
  std::vector<double> shares(slots);
  sum = std::exp(mask[0] - most);
  for (size_t k = 0; k < slots; ++k) sum += shares[k] = std::exp(static_cast<double>(scores[k] + mask[1 + k]) - most);
  for (size_t k = 0; k < slots; ++k) scores[k] = static_cast<float>(shares[k] / sum);
}

}  // namespace

void multiply(const Product* products, size_t count, const Matrix* next, const Threads& threads) {
  const size_t parts = threads.count;
  for (size_t p = 0; p < count; ++p) products[p].x->sums.of(parts * products[p].matrix->outputs);
  threads.share(parts, [&](size_t i) {
    for (size_t p = 0; p < count; ++p) {
      const Matrix* after = p + 1 < count ? products[p + 1].matrix : next;
      products[p].matrix->multiply(*products[p].x, i, parts, after ? after->start(i, parts) : nullptr, products[p].y);
    }
  });
  for (size_t p = 0; p < count; ++p) products[p].matrix->finish(*products[p].x, parts, products[p].y);
}

void Layer::run(const LayerToken& token, const Matrix* next, const Threads& threads) const {
  const size_t C = w_.channels;
  float *x = memory().x.of(C), *h_1 = token.new_shift, *h_2 = token.new_shift + C;
  normalize(token.x, w_.ln1.gain, w_.ln1.bias, w_.epsilon, C, h_1);
  const float* M = w_.query ? recall(token, threads) : nullptr;
  time_mix(token, M, x, threads);
  normalize(x, w_.ln2.gain, w_.ln2.bias, w_.epsilon, C, h_2);
  channel_mix(token, M, x, next, threads);
}

// M = softmax(q · keys + mask) bank
const float* Layer::recall(const LayerToken& token, const Threads& threads) const {
  Memory& m = memory();
  const size_t C = w_.channels, R = w_.key_size, K = token.slots;
  float *q = m.mix.of(R), *scores = m.scores.of(K), *M = m.recalled.of(C);
  w_.query->round(token.new_shift, m.rounded[0]);
  m.rounded[0].sums.of(R);
  w_.query->multiply(m.rounded[0], 0, 1, w_.key->start(0, threads.count), q);  // too little to be shared
  w_.query->finish(m.rounded[0], 1, q);
  scores_of(q, token.key, K, R, scores);
  attend(scores, token.mask, K);
  const size_t parts = K * C < kWorthIt ? 1 : threads.count;
  threads.share(parts, [&](size_t i) { weighted_rows(scores, token.bank, K, C, part_of(i, parts, C), M); });
  return M;
}

// x <- x + Woutput (σ(r) ⊙ wkv)
void Layer::time_mix(const LayerToken& token, const float* M, float* x, const Threads& threads) const {
  Memory& m = memory();
  const size_t C = w_.channels;
  float *mixed = m.mix.of(3 * C), *k = m.k.of(C), *v = m.v.of(C), *r = m.r.of(C);
  mix(token.new_shift, w_.time_now, token.shift, w_.time_before, M, w_.time_recalled, C, 3, mixed);
  w_.key->round(mixed, m.rounded[0]);
  w_.value->round(mixed + C, m.rounded[1]);
  w_.receptance->round(mixed + 2 * C, m.rounded[2]);
  const Product products[] = {
      {w_.key.get(), &m.rounded[0], k}, {w_.value.get(), &m.rounded[1], v}, {w_.receptance.get(), &m.rounded[2], r}};
  multiply(products, 3, w_.output.get(), threads);
  run_row(w_.wkv, k, v, r, token.wkv, 0, C, r, token.new_wkv);
  w_.output->round(r, m.rounded[0]);
  const Product output{w_.output.get(), &m.rounded[0], x};
  multiply(&output, 1, w_.ffn_key.get(), threads);
  for (size_t c = 0; c < C; ++c) x[c] += token.x[c];
}

// y = x + σ(r) ⊙ (Wvalue relu(k)²)
void Layer::channel_mix(const LayerToken& token, const float* M, const float* x, const Matrix* next,
                        const Threads& threads) const {
  Memory& m = memory();
  const size_t C = w_.channels, F = w_.ffn_key->outputs;
  float *mixed = m.mix.of(2 * C), *r = m.r.of(C), *k = m.k.of(F), *v = m.v.of(C);
  mix(token.new_shift + C, w_.channel_now, token.shift + C, w_.channel_before, M, w_.channel_recalled, C, 2, mixed);
  w_.ffn_key->round(mixed, m.rounded[0]);
  w_.ffn_receptance->round(mixed + C, m.rounded[1]);
  const Product products[] = {{w_.ffn_key.get(), &m.rounded[0], k}, {w_.ffn_receptance.get(), &m.rounded[1], r}};
  multiply(products, 2, w_.ffn_value.get(), threads);
  for (size_t f = 0; f < F; ++f) k[f] = k[f] > 0 ? k[f] * k[f] : 0;
  w_.ffn_value->round(k, m.rounded[0]);
  const Product value{w_.ffn_value.get(), &m.rounded[0], v};
  multiply(&value, 1, next, threads);
  for (size_t c = 0; c < C; c += kLanes) {
    const __mmask16 mask = lanes(C - c);
    const __m512 gated = _mm512_mul_ps(sigmoid(_mm512_maskz_loadu_ps(mask, r + c)), _mm512_maskz_loadu_ps(mask, v + c));
    _mm512_mask_storeu_ps(token.y + c, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, x + c), gated));
  }
}

void Head::run(const float* x, float* logits, const Threads& threads) const {
  Memory& m = memory();
  const size_t C = w_.matrix->inputs;
  float* h = m.mix.of(C);
  normalize(x, w_.ln_out.gain, w_.ln_out.bias, w_.epsilon, C, h);
  w_.matrix->round(h, m.rounded[0]);
  const Product product{w_.matrix.get(), &m.rounded[0], logits};
  multiply(&product, 1, nullptr, threads);
}

}  // namespace rrwkv
