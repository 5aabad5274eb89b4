// Weights in float16 or float32.
#pragma once

#include "model/matrix/matrix.h"

namespace rrwkv {

// float16 (as its bits) or float32 [K, N], multiplied in float32. An output is summed in the order of its inputs, by
// one thread, of one token or of many alike.
template <typename Value>
class FloatColumns : public Matrix {
 public:
  FloatColumns(const Kernels& kernels, const Value* weight, size_t inputs, size_t outputs)
      : Matrix(kernels, inputs, outputs), w_{weight, inputs, outputs} {}
  void quantize(const float* x, QuantizedActivations& to) const override;
  void multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after, float* y) const override;
  void finish(const QuantizedActivations&, size_t, float*) const override {}
  MemoryRange start(size_t part, size_t parts) const override;
  void quantize_rows(const float* x, size_t rows, QuantizedActivations& to, const Threads& threads) const override;
  void multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const override;

 private:
  const FloatColumnKernels<Value>& kernels() const;
  Span columns(size_t part, size_t parts) const;

  FloatWeights<Value> w_;
};

using Float16 = FloatColumns<uint16_t>;
using Float32 = FloatColumns<float>;

}  // namespace rrwkv
