// Weights with a scale for each block of a row.
#pragma once

#include "model/matrix/matrix.h"

namespace rrwkv {

class Blockwise : public Matrix {
 public:
  void finish(const QuantizedActivations&, size_t, float*) const override {}
  MemoryRange start(size_t part, size_t parts) const override;

 protected:
  Blockwise(const Kernels& kernels, const BlockwiseWeights& weights)
      : Matrix(kernels, weights.inputs, weights.outputs), w_(weights) {}

  BlockwiseWeights w_;
};

// Times activations in int8, of a scale for each block.
class BlockwiseInt8 : public Blockwise {
 public:
  BlockwiseInt8(const Kernels& kernels, const BlockwiseWeights& weights) : Blockwise(kernels, weights) {}
  void quantize(const float* x, QuantizedActivations& to) const override;
  void multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after, float* y) const override;
  void quantize_rows(const float* x, size_t rows, QuantizedActivations& to, const Threads& threads) const override;
  void multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const override;

 private:
  // Of many rows of activations.
  size_t row_bytes() const;
};

// Of 8 bits, times activations as they are.
class BlockwiseFloat : public Blockwise {
 public:
  BlockwiseFloat(const Kernels& kernels, const BlockwiseWeights& weights) : Blockwise(kernels, weights) {}
  void quantize(const float* x, QuantizedActivations& to) const override;
  void multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after, float* y) const override;
  void quantize_rows(const float* x, size_t rows, QuantizedActivations& to, const Threads& threads) const override;
  void multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const override;
};

}  // namespace rrwkv
