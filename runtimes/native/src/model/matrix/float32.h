// Weights in float32.
#pragma once

#include "model/matrix/matrix.h"

namespace rrwkv {

// float32 [K, N]. An output is summed in the order of its inputs, of one token or of many alike.
class Float32 : public Matrix {
 public:
  Float32(const Kernels& kernels, const float* weight, size_t inputs, size_t outputs)
      : Matrix(kernels, inputs, outputs), weight_(weight) {}
  void quantize(const float* x, QuantizedActivations& to) const override;
  void multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after, float* y) const override;
  void finish(const QuantizedActivations&, size_t, float*) const override {}
  MemoryRange start(size_t part, size_t parts) const override;
  void quantize_rows(const float* x, size_t rows, QuantizedActivations& to, const Threads& threads) const override;
  void multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const override;

 private:
  const float* weight_;
};

}  // namespace rrwkv
