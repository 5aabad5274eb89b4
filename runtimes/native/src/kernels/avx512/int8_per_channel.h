// Weights with a scale for each column.
#pragma once

#include <mutex>
#include <vector>

#include "kernels/avx512/tiles.h"
#include "model/matrix.h"

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
  Int8PerChannel(const int8_t* weight, size_t inputs, size_t outputs, const float* scale, const Range* range)
      : Matrix(inputs, outputs),
        weight_(weight),
        scale_(scale),
        has_range_(range != nullptr),
        range_(range ? *range : Range{}) {}
  void quantize(const float* x, QuantizedActivations& quantized) const override;
  void multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after, float* y) const override;
  void finish(const QuantizedActivations& x, size_t parts, float* y) const override;
  MemoryRange start(size_t part, size_t parts) const override;

  void quantize_rows(const float* x, size_t rows, QuantizedActivations& quantized,
                     const Threads& threads) const override;
  void multiply_rows(QuantizedActivations& x, size_t rows, bool amx, const Threads& threads, float* y) const override;

 private:
  struct Block {
    size_t row, rows, column, columns;
  };

  const int32_t* column_sums() const;
  Block block(size_t part, size_t parts) const;
  void accumulate(const uint8_t* x, const Block& block, const char* after, int32_t* sums) const;
  void scale(const QuantizedActivations& x, const int32_t* sums, size_t others, size_t begin, size_t end,
             float* y) const;
  void scale_rows(const QuantizedActivations& x, const int32_t* sums, const int32_t* column_sums, size_t rows,
                  size_t begin, size_t end, float* y) const;

  const int8_t* weight_;
  const float* scale_;
  bool has_range_;
  Range range_;
  mutable std::once_flag summed_;
  mutable std::vector<int32_t> column_sums_;
};

}  // namespace rrwkv
