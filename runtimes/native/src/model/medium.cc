#include "model/medium.h"

#include <algorithm>
#include <cmath>

#include "exec/workspace.h"

namespace rrwkv {
namespace {

// onnxruntime's products sum so many values, and then these sums; with a constant it is more.
constexpr size_t kStride = 128, kPackedStride = 256;
constexpr size_t kWorthIt = 1 << 15;  // values to read before several threads read them faster

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
  quantize(*w_.query, h, T, exec, m.activations);
  const Product product{w_.query.get(), &m.activations, q};
  if (exec.alone) {  // too little to be shared
    m.activations.sums.of(R);
    w_.query->multiply(m.activations, 0, 1, next ? next->start(0, exec.threads.count) : MemoryRange{}, q);
    w_.query->finish(m.activations, 1, q);
    recall_alone(q, run, exec, M);
    if (n) hold(z, n, run, exec);
    return;
  }
  multiply(&product, 1, T, next, exec);
  hold(z, n, run, exec);
  recall(q, m.held.data(), m.keys.data(), K + n, run, exec, M);
}

// The mediums that are held, and behind them those of the n segments that end; the last K of them are the state.
void Medium::hold(const float* z, size_t n, const MediumRun& run, const Execution& exec) const {
  MediumWorkspace& m = workspace().medium;
  const size_t R = w_.key_size(), K = run.slots;
  float *held = m.held.of((K + n) * C_), *keys = m.keys.of((K + n) * R);
  std::copy_n(run.before.bank, K * C_, held);
  std::copy_n(run.before.key, K * R, keys);
  excite(z, n, exec, held + K * C_, keys + K * R);
  std::copy_n(held + n * C_, K * C_, run.after.bank);
  std::copy_n(keys + n * R, K * R, run.after.key);
}

// S <- S + g h, G <- G + g, g = exp(squeeze · h); where a segment ends, z = S / G, and S and G are 0 again.
void Medium::squeeze(const float* h, const MediumRun& run, const Execution& exec, float* z) const {
  const size_t T = exec.tokens, s = w_.makes_mediums() ? w_.interval : 0;
  float* g = workspace().medium.g.of(T);
  exec.share(T, kLine, [&](size_t begin, size_t end) {
    if (!w_.squeeze) return std::fill(g + begin, g + end, 1.0f);
    exec.kernels.floats.multiply_rows(w_.squeeze, h + begin * C_, end - begin, C_, kPackedStride, g + begin);
    exec.kernels.rows.exponentials(w_.least_significance, w_.most_significance, end - begin, g + begin);
  });
  exec.share(C_, kLine, [&](size_t begin, size_t end) {
    float G = *run.before.weight, *S = run.after.sum;
    std::copy(run.before.sum + begin, run.before.sum + end, S + begin);
    for (size_t t = 0, ended = 0; t < T; ++t) {
      G += g[t];
      exec.kernels.rows.add_scaled(g[t], h + t * C_ + begin, end - begin, S + begin);
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
    quantize(matrix, x, n, exec, of.activations);
    const Product product{&matrix, &of.activations, y};
    multiply(&product, 1, n, nullptr, exec);
  };
  multiplied(*w_.down, z, hidden);
  for (size_t i = 0; i < n * E; ++i) hidden[i] = std::max(hidden[i], 0.0f);
  multiplied(*w_.up, hidden, gate);
  exec.kernels.rows.gate(gate, z, n * C_, m);
  multiplied(*w_.key, m, keys);
}

// M = softmax([0, q · keys]) [0; bank] over the filled slots, which are the last.
void Medium::recall_alone(const float* q, const MediumRun& run, const Execution& exec, float* M) const {
  const size_t R = w_.key_size(), K = run.slots, filled = std::min(K, run.position / w_.interval);
  const float *bank = run.before.bank + (K - filled) * C_, *keys = run.before.key + (K - filled) * R;
  float* scores = workspace().medium.columns.of(K);
  exec.kernels.floats.multiply_rows(q, keys, filled, R, kStride, scores);
  attend(scores, filled);
  const size_t parts = filled * C_ < kWorthIt ? 1 : exec.threads.count;
  exec.threads.share(parts, [&](size_t i) {
    const auto [begin, end] = part_of(i, parts, C_, kLine);
    exec.kernels.floats.sum_rows(scores, bank + begin, filled, C_, end - begin, M + begin);
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
      exec.kernels.floats.sum_rows(q + t * R, columns + first, R, rows, filled, scores);
      attend(scores, filled);
      exec.kernels.floats.sum_rows(scores, held + first * C_, filled, C_, C_, M + t * C_);
    }
  });
}

}  // namespace rrwkv
