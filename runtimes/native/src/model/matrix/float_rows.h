// Many rows of activations as they are, times weights that are made floats 32 outputs at a time.
#pragma once

#include <algorithm>
#include <atomic>

#include "model/matrix/matrix.h"

namespace rrwkv {

// Of x [rows, inputs], twelve rows' values beside each other: [rows / 12, inputs, 12], with zeros to the end.
inline void pack_float_rows(const FloatKernels& kernels, const float* x, size_t rows, size_t inputs,
                            const Threads& threads, QuantizedActivations& to) {
  const size_t groups = (rows + kFloatRows - 1) / kFloatRows;
  float* values = to.values.of(groups * inputs * kFloatRows);
  threads.share_spans(threads.count, groups, 1, [&](size_t begin, size_t end) {
    for (size_t first = begin * kFloatRows; first < std::min(end * kFloatRows, rows); first += kFloatRows)
      kernels.pack(x + first * inputs, std::min(kFloatRows, rows - first), inputs, values + first * inputs);
  });
}

// y [rows, outputs] of packed rows [.., inputs, 12], every sum in the order of the inputs. unpack(n, left, right): of
// the 16 outputs from the n-th on and of the 16 after these, floats [inputs, 16]; in each there is room for as many
// inputs as `depth` says.
template <typename Unpack>
void multiply_float_rows(const FloatKernels& kernels, const QuantizedActivations& x, size_t rows, const Matrix& of,
                         size_t depth, const Threads& threads, const Unpack& unpack, float* y) {
  std::atomic<size_t> taken{0};
  threads.share(threads.count, [&](size_t) {
    static thread_local Scratch<float> of_thread;
    const size_t apart = depth * kLine;
    float* panel = of_thread.of(2 * apart);
    for (size_t n = taken.fetch_add(kFloatPanel); n < of.outputs; n = taken.fetch_add(kFloatPanel)) {
      unpack(n, panel, panel + apart);
      const size_t columns = std::min(kFloatPanel, of.outputs - n);
      for (size_t t = 0; t < rows; t += kFloatRows)
        kernels.multiply_panel(x.values.data() + t * of.inputs, of.inputs, panel, apart,
                               {y + t * of.outputs + n, std::min(kFloatRows, rows - t), columns, of.outputs});
    }
  });
}

}  // namespace rrwkv
