#include "model/medium.h"

#include <algorithm>
#include <cmath>

#include "exec/workspace.h"
#include "kernels/avx512/vectors.h"

namespace rrwkv {
namespace {

// onnxruntime's products sum so many rows, and then these sums; with a constant it is more.
constexpr size_t kStride = 128, kPackedStride = 256;
constexpr size_t kWorthIt = 1 << 15;  // values to read before several threads read them faster
constexpr size_t kAtOnce = 4;         // vectors of sums that need not wait for each other

// y [n] = Σ_k x[k] rows[k] (n values of them, a stride apart): fused, k after k, in onnxruntime's order.
void sum_rows(const float* x, const float* rows, size_t count, size_t stride, size_t n, float* y) {
  for (size_t from = 0; from < n; from += kAtOnce * kLanes) {
    __m512 totals[kAtOnce];
    __mmask16 masks[kAtOnce];
    for (size_t i = 0; i < kAtOnce; ++i) {
      totals[i] = _mm512_setzero_ps();
      masks[i] = from + i * kLanes < n ? lanes(n - from - i * kLanes) : 0;
    }
    for (size_t first = 0; first < count; first += kStride) {
      __m512 sums[kAtOnce];
      for (__m512& sum : sums) sum = _mm512_setzero_ps();
      for (size_t k = first; k < std::min(first + kStride, count); ++k) {
        const float* row = rows + k * stride + from;
        const __m512 factor = _mm512_set1_ps(x[k]);
        for (size_t i = 0; i < kAtOnce; ++i)
          sums[i] = _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(masks[i], row + i * kLanes), sums[i]);
      }
      for (size_t i = 0; i < kAtOnce; ++i) totals[i] = first ? _mm512_add_ps(sums[i], totals[i]) : sums[i];
    }
    for (size_t i = 0; i < kAtOnce; ++i) _mm512_mask_storeu_ps(y + from + i * kLanes, masks[i], totals[i]);
  }
}

float dot(const float* a, const float* b, size_t n, size_t stride) {
  float total = 0;
  for (size_t first = 0; first < n; first += stride) {
    float sum = 0;
    for (size_t i = first; i < std::min(first + stride, n); ++i) sum = std::fma(a[i], b[i], sum);
    total = first ? sum + total : sum;
  }
  return total;
}

// y [count] = rows [count, n] times x, fused, `stride` after `stride`.
void multiply_rows_by(const float* x, const float* rows, size_t count, size_t n, size_t stride, float* y) {
  if (count == 1) return void(*y = dot(x, rows, n, stride));
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i offset = _mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int>(n)));
  for (size_t k = 0; k < count; k += kLanes) {
    const __mmask16 mask = lanes(count - k);
    __m512 total = _mm512_setzero_ps();
    for (size_t first = 0; first < n; first += stride) {
      __m512 sum = _mm512_setzero_ps();
      for (size_t i = first; i < std::min(first + stride, n); ++i) {
        const __m512 column = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, offset, rows + k * n + i, 4);
        sum = _mm512_fmadd_ps(_mm512_set1_ps(x[i]), column, sum);
      }
      total = first ? _mm512_add_ps(sum, total) : sum;
    }
    _mm512_mask_storeu_ps(y + k, mask, total);
  }
}

// The softmax of [0, scores] in double; the empty slot's share is left out.
void attend(float* scores, size_t count) {
  static thread_local Scratch<double> of_thread;
  double* shares = of_thread.of(count);
  double most = 0, sum = 0;
  for (size_t k = 0; k < count; ++k) most = std::max<double>(most, scores[k]);
  sum = std::exp(-most);
  for (size_t k = 0; k < count; ++k) sum += shares[k] = std::exp(scores[k] - most);
  for (size_t k = 0; k < count; ++k) scores[k] = static_cast<float>(shares[k] / sum);
}

}  // namespace

void Medium::run(const float* h, const MediumRun& run, const Matrix* next, const Execution& exec, float* M) const {
  MediumWorkspace& m = workspace().medium;
  const size_t T = exec.tokens, R = w_.key_size(), K = run.slots, s = w_.interval;
  const size_t n = w_.makes_mediums() ? (run.position % s + T) / s : 0;  // how many segments end here
  float *q = m.q.of(T * R), *z = m.z.of(n * C_);
  squeeze(h, run, exec, z);
  exec.quantize(*w_.query, h, T, m.activations);
  const Product product{w_.query.get(), &m.activations, q};
  if (exec.alone) {  // too little to be shared
    m.activations.sums.of(R);
    w_.query->multiply(m.activations, 0, 1, next ? next->start(0, exec.threads.count) : MemoryRange{}, q);
    w_.query->finish(m.activations, 1, q);
    return recall_alone(q, run, exec.threads, M);
  }
  exec.multiply(&product, 1, T, next);

  float *held = m.held.of((K + n) * C_), *keys = m.keys.of((K + n) * R);
  std::copy_n(run.before.bank, K * C_, held);
  std::copy_n(run.before.key, K * R, keys);
  excite(z, n, exec, held + K * C_, keys + K * R);
  std::copy_n(held + n * C_, K * C_, run.after.bank);
  std::copy_n(keys + n * R, K * R, run.after.key);
  recall(q, held, keys, K + n, run, exec, M);
}

// S <- S + g h, G <- G + g, g = exp(squeeze · h); where a segment ends, z = S / G, and S and G are 0 again.
void Medium::squeeze(const float* h, const MediumRun& run, const Execution& exec, float* z) const {
  const size_t T = exec.tokens, s = w_.makes_mediums() ? w_.interval : 0;
  float* g = workspace().medium.g.of(T);
  exec.share(T, kLanes, [&](size_t begin, size_t end) {
    if (!w_.squeeze) return std::fill(g + begin, g + end, 1.0f);
    multiply_rows_by(w_.squeeze, h + begin * C_, end - begin, C_, kPackedStride, g + begin);
    for (size_t t = begin; t < end; t += kLanes) {
      __m512 significance = _mm512_maskz_loadu_ps(lanes(end - t), g + t);
      significance = _mm512_max_ps(significance, _mm512_set1_ps(w_.least_significance));
      significance = _mm512_min_ps(significance, _mm512_set1_ps(w_.most_significance));
      _mm512_mask_storeu_ps(g + t, lanes(end - t), exponential(significance));
    }
  });
  exec.share(C_, kLanes, [&](size_t begin, size_t end) {
    float G = *run.before.weight, *S = run.after.sum;
    std::copy(run.before.sum + begin, run.before.sum + end, S + begin);
    for (size_t t = 0, ended = 0; t < T; ++t) {
      G += g[t];
      for (size_t c = begin; c < end; ++c) S[c] += g[t] * h[t * C_ + c];
      if (s == 0 || (run.position + t + 1) % s) continue;
      for (size_t c = begin; c < end; ++c) z[ended * C_ + c] = S[c] / G;
      std::fill(S + begin, S + end, 0.0f);
      G = 0;
      ++ended;
    }
    if (begin == 0) *run.after.weight = G;
  });
}

// m = σ(Wup relu(Wdown z)) ⊙ z and Wkey m of the n segments that end.
void Medium::excite(const float* z, size_t n, const Execution& exec, float* m, float* keys) const {
  if (n == 0) return;
  MediumWorkspace& of = workspace().medium;
  const size_t E = w_.down->outputs;
  float *hidden = of.hidden.of(n * E), *gate = of.gate.of(n * C_);
  const auto multiplied = [&](const Matrix& matrix, const float* x, float* y) {
    exec.quantize(matrix, x, n, of.activations);
    const Product product{&matrix, &of.activations, y};
    exec.multiply(&product, 1, n, nullptr);
  };
  multiplied(*w_.down, z, hidden);
  for (size_t i = 0; i < n * E; ++i) hidden[i] = std::max(hidden[i], 0.0f);
  multiplied(*w_.up, hidden, gate);
  for (size_t i = 0; i < n * C_; i += kLanes) {
    const __mmask16 mask = lanes(n * C_ - i);
    const __m512 opened = sigmoid(_mm512_maskz_loadu_ps(mask, gate + i));
    _mm512_mask_storeu_ps(m + i, mask, _mm512_mul_ps(opened, _mm512_maskz_loadu_ps(mask, z + i)));
  }
  multiplied(*w_.key, m, keys);
}

// M = softmax([0, q · keys]) [0; bank] over the filled slots, which are the last.
void Medium::recall_alone(const float* q, const MediumRun& run, const Threads& threads, float* M) const {
  const size_t R = w_.key_size(), K = run.slots, filled = std::min(K, run.position / w_.interval);
  const float *bank = run.before.bank + (K - filled) * C_, *keys = run.before.key + (K - filled) * R;
  float* scores = workspace().medium.columns.of(K);
  multiply_rows_by(q, keys, filled, R, kStride, scores);
  attend(scores, filled);
  const size_t parts = filled * C_ < kWorthIt ? 1 : threads.count;
  threads.share(parts, [&](size_t i) {
    const auto [begin, end] = part_of(i, parts, C_, kLanes);
    sum_rows(scores, bank + begin, filled, C_, end - begin, M + begin);
  });
}

// The same of many tokens, each over the slots that are filled when it comes. held [rows, C], keys [rows, R].
void Medium::recall(const float* q, const float* held, const float* keys, size_t rows, const MediumRun& run,
                    const Execution& exec, float* M) const {
  const size_t R = w_.key_size(), K = run.slots, s = w_.interval;
  float* columns = workspace().medium.columns.of(R * rows);  // of the keys
  for (size_t k = 0; k < rows; ++k)
    for (size_t r = 0; r < R; ++r) columns[r * rows + k] = keys[k * R + r];
  exec.share(exec.tokens, 1, [&](size_t begin, size_t end) {
    static thread_local Scratch<float> of_thread;
    float* scores = of_thread.of(K);
    for (size_t t = begin; t < end; ++t) {
      const size_t filled = std::min(K, (run.position + t) / s), first = (run.position % s + t) / s + K - filled;
      sum_rows(q + t * R, columns + first, R, rows, filled, scores);
      attend(scores, filled);
      sum_rows(scores, held + first * C_, filled, C_, C_, M + t * C_);
    }
  });
}

}  // namespace rrwkv
