// Weights in float16.
#pragma once

#include "model/matrix.h"

namespace rrwkv {

// float16 [K, N], multiplied in float32. An output is summed in the order of its inputs, by one thread, of one token or
// of many alike.
class Halves : public Matrix {
 public:
  Halves(const uint16_t* weight, size_t inputs, size_t outputs) : Matrix(inputs, outputs), weight_(weight) {}
  void round(const float* x, Rounded& rounded) const override;
  void multiply(Rounded& x, size_t part, size_t parts, const Stretch& after, float* y) const override;
  void finish(const Rounded&, size_t, float*) const override {}
  Stretch start(size_t part, size_t parts) const override;
  void round_rows(const float* x, size_t rows, Rounded& rounded, const Threads& threads) const override;
  void multiply_rows(Rounded& x, size_t rows, bool amx, const Threads& threads, float* y) const override;

 private:
  Span columns(size_t part, size_t parts) const;
  void add_wide(const float* x, size_t row, size_t end, size_t column, Fetch* next, float* y) const;

  const uint16_t* weight_;
};

}  // namespace rrwkv
