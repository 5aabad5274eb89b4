// Many rows of activations as they are, times weights that are made floats 32 outputs at a time.
#pragma once

#include <algorithm>
#include <atomic>

#include "kernels/avx512/vectors.h"
#include "model/matrix.h"

namespace rrwkv {

constexpr size_t kRowsTogether = 12, kFloatPanel = 2 * kLanes;  // as many sums as stay in registers

// Of so many outputs that are left, which of the second sixteen there are.
inline __mmask16 lanes_after(size_t left) { return left > kLanes ? lanes(left - kLanes) : 0; }

// Of x [rows, inputs], twelve rows' values beside each other: [rows / 12, inputs, 12], with zeros to the end.
inline void pack_float_rows(const float* x, size_t rows, size_t inputs, QuantizedActivations& quantized,
                            const Threads& threads) {
  const size_t groups = (rows + kRowsTogether - 1) / kRowsTogether;
  float* values = quantized.values.of(groups * inputs * kRowsTogether);
  threads.share_spans(threads.count, groups, 1, [&](size_t begin, size_t end) {
    for (size_t g = begin; g < end; ++g) {
      const size_t first = g * kRowsTogether, count = std::min(kRowsTogether, rows - first);
      float* to = values + first * inputs;
      for (size_t k = 0; k < inputs; ++k)
        for (size_t t = 0; t < kRowsTogether; ++t)
          to[k * kRowsTogether + t] = t < count ? x[(first + t) * inputs + k] : 0.0f;
    }
  });
}

// Some of twelve rows [inputs, 12] times two panels [inputs, 16], `apart` from each other: y [count, …], rows a stride
// apart.
inline void multiply_together(const float* values, size_t inputs, const float* panel, size_t apart, size_t count,
                              const __mmask16 masks[2], float* y, size_t stride) {
  __m512 sums[kRowsTogether][2];
  for (auto& sum : sums) sum[0] = sum[1] = _mm512_setzero_ps();
  for (size_t k = 0; k < inputs; ++k) {
    const __m512 left = _mm512_loadu_ps(panel + kLanes * k), right = _mm512_loadu_ps(panel + apart + kLanes * k);
    for (size_t t = 0; t < kRowsTogether; ++t) {
      const __m512 value = _mm512_set1_ps(values[k * kRowsTogether + t]);
      sums[t][0] = _mm512_fmadd_ps(value, left, sums[t][0]);
      sums[t][1] = _mm512_fmadd_ps(value, right, sums[t][1]);
    }
  }
  for (size_t t = 0; t < kRowsTogether; ++t) {
    if (t == count) return;
    _mm512_mask_storeu_ps(y + t * stride, masks[0], sums[t][0]);
    _mm512_mask_storeu_ps(y + t * stride + kLanes, masks[1], sums[t][1]);
  }
}

// y [rows, outputs] of packed rows [.., inputs, 12], every sum in the order of the inputs. unpack(n, left, right): of
// the 16 outputs from the n-th on and of the 16 after these, floats [inputs, 16]; in each there is room for as many
// inputs as `depth` says.
template <typename Unpack>
void multiply_float_rows(const QuantizedActivations& x, size_t rows, const Matrix& of, size_t depth,
                         const Threads& threads, const Unpack& unpack, float* y) {
  std::atomic<size_t> taken{0};
  threads.share(threads.count, [&](size_t) {
    static thread_local Scratch<float> of_thread;
    const size_t apart = depth * kLanes;
    float* panel = of_thread.of(2 * apart);
    for (size_t n = taken.fetch_add(kFloatPanel); n < of.outputs; n = taken.fetch_add(kFloatPanel)) {
      unpack(n, panel, panel + apart);
      const __mmask16 masks[] = {lanes(of.outputs - n), lanes_after(of.outputs - n)};
      for (size_t t = 0; t < rows; t += kRowsTogether)
        multiply_together(x.values.data() + t * of.inputs, of.inputs, panel, apart, std::min(kRowsTogether, rows - t),
                          masks, y + t * of.outputs + n, of.outputs);
    }
  });
}

}  // namespace rrwkv
