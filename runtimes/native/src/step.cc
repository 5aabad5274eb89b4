#include "step.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "vectors.h"

namespace rrwkv {
namespace {

constexpr size_t kPackedStride = 256;  // onnxruntime's products with a constant sum so many rows, and then these sums

// a · b: fused, one after the other, in onnxruntime's order.
float dot(const float* a, const float* b, size_t n) {
  float total = 0;
  for (size_t first = 0; first < n; first += kPackedStride) {
    float sum = 0;
    for (size_t i = first; i < std::min(first + kPackedStride, n); ++i) sum = std::fma(a[i], b[i], sum);
    total = first ? sum + total : sum;
  }
  return total;
}

// 0 at the empty slot and at the filled ones, which are the last; else -infinity: [1 + K].
std::vector<float> mask_of(int64_t position, int64_t interval, size_t slots) {
  const auto K = static_cast<int64_t>(slots), filled = std::min(K, position / interval);
  std::vector<float> mask(slots + 1, 0.0f);
  std::fill_n(mask.begin() + 1, K - filled, -std::numeric_limits<float>::infinity());
  return mask;
}

}  // namespace

void Step::run(const StepToken& token, const Threads& threads) const {
  const size_t C = w_.layers.front().weights().channels, L = w_.layers.size();
  const std::vector<float> mask =
      w_.interval ? mask_of(token.position, w_.interval, token.slots) : std::vector<float>();
  const size_t rows = wkv_rows();
  std::vector<float> y(C);
  for (size_t i = 0; i < L; ++i) {
    LayerToken layer{};
    layer.x = i ? y.data() : token.x;
    layer.shift = token.shift + 2 * C * i;
    const float* wkv = token.wkv + rows * C * i;
    float* new_wkv = token.new_wkv + rows * C * i;
    layer.wkv = {wkv, wkv + 2 * C};
    layer.new_wkv = {new_wkv, new_wkv + 2 * C};
    layer.y = y.data();
    layer.new_shift = token.new_shift + 2 * C * i;
    if (w_.interval) {
      layer.bank = token.banks[i];
      layer.key = token.keys[i];
      layer.mask = mask.data();
      layer.slots = token.slots;
    }
    const Matrix* next = i + 1 < L ? w_.layers[i + 1].weights().key.get() : w_.head.weights().matrix.get();
    w_.layers[i].run(layer, next, threads);
  }
  if (w_.interval) squeeze(token);
  w_.head.run(y.data(), token.logits, threads);
}

// S <- S + g h, G <- G + g, g = exp(squeeze · h)
void Step::squeeze(const StepToken& token) const {
  const size_t C = w_.layers.front().weights().channels, L = w_.layers.size();
  std::vector<float> g(L, 1.0f);
  for (size_t i = 0; i < L; ++i) {
    if (!w_.squeeze[i]) continue;
    const float significance = dot(token.new_shift + 2 * C * i, w_.squeeze[i], C);
    const __m512 clipped = _mm512_set1_ps(std::clamp(significance, w_.least_significance, w_.most_significance));
    g[i] = _mm512_cvtss_f32(exponential(clipped));
  }
  for (size_t i = 0; i < L; ++i) {
    const float* h = token.new_shift + 2 * C * i;
    for (size_t c = 0; c < C; ++c) token.new_sum[C * i + c] = token.sum[C * i + c] + g[i] * h[c];
    token.new_weight[i] = token.weight[i] + g[i];
  }
}

}  // namespace rrwkv
