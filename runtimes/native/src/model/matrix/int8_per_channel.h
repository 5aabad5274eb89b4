// Weights with a scale for each column.
#pragma once

#include <mutex>
#include <vector>

#include "model/matrix/matrix.h"

namespace rrwkv {

// int8 [K, N] with a scale for each column. Activations are uint8, of a scale that is given (a static range), or of
// these rows' own range as DynamicQuantizeLinear defines it.
class Int8PerChannel : public Matrix {
 public:
  struct Range {
    float scale;
    int zero;
  };

  // range: null where there is none.
  Int8PerChannel(const Kernels& kernels, const int8_t* weight, size_t inputs, size_t outputs, const float* scale,
                 const Range* range)
      : Matrix(kernels, inputs, outputs),
        weight_(weight),
        scale_(scale),
        has_range_(range != nullptr),
        range_(range ? *range : Range{}) {}
  void quantize(const float* x, QuantizedActivations& to) const override;
  size_t parts(size_t threads) const override;
  void multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after, float* y) const override;
  void finish(const QuantizedActivations& x, size_t parts, float* y) const override;
  MemoryRange start(size_t part, size_t parts) const override;

  void quantize_rows(const float* x, size_t rows, QuantizedActivations& to, const Threads& threads) const override;
  void multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const override;

 private:
  // A part of the matrix, which one thread multiplies.
  struct Block {
    size_t row, rows, column, columns;
  };

  const int32_t* column_sums() const;
  bool by_rows(size_t parts) const;
  Block block(size_t part, size_t parts) const;
  // Of all rows, times the columns that are packed, by all threads.
  void multiply_group(QuantizedActivations& x, size_t rows, Span columns, const Threads& threads, float* y) const;

  const int8_t* weight_;
  const float* scale_;
  bool has_range_;
  Range range_;
  mutable std::once_flag summed_;
  mutable std::vector<int32_t> column_sums_;
};

}  // namespace rrwkv
