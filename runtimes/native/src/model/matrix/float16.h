// Weights in float16.
#pragma once

#include "model/matrix/matrix.h"

namespace rrwkv {

// float16 [K, N], multiplied in float32. An output is summed in the order of its inputs, by one thread, of one token or
// of many alike.
class Float16 : public Matrix {
 public:
  Float16(const Kernels& kernels, const uint16_t* weight, size_t inputs, size_t outputs)
      : Matrix(kernels, inputs, outputs), w_{weight, inputs, outputs} {}
  void quantize(const float* x, QuantizedActivations& to) const override;
  void multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after, float* y) const override;
  void finish(const QuantizedActivations&, size_t, float*) const override {}
  MemoryRange start(size_t part, size_t parts) const override;
  void quantize_rows(const float* x, size_t rows, QuantizedActivations& to, const Threads& threads) const override;
  void multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const override;

 private:
  Span columns(size_t part, size_t parts) const;

  Float16Weights w_;
};

}  // namespace rrwkv
