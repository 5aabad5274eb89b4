// Weight matrices as a quantized graph holds them, read in place, times activations in whole numbers: one row of them,
// where the weights are what takes time, or many, where the products are.
#pragma once

#include <cstddef>

#include "exec/execution.h"
#include "exec/quantized_activations.h"
#include "kernels/kernels.h"

namespace rrwkv {

class Matrix {
 public:
  Matrix(const Kernels& kernels, size_t inputs, size_t outputs) : inputs(inputs), outputs(outputs), kernels_(kernels) {}
  virtual ~Matrix() = default;

  // One row x [inputs]; y [outputs].
  virtual void quantize(const float* x, QuantizedActivations& to) const = 0;
  // How many parts the work on one row has: of a matrix so large that it shows if one thread is late, several for each.
  virtual size_t parts(size_t threads) const;
  // One thread's part of the work on y, of `parts`. Sums of several parts are put together by `finish`. `after`: what
  // this thread reads next, to be fetched when the end comes near.
  virtual void multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after,
                        float* y) const = 0;
  virtual void finish(const QuantizedActivations& x, size_t parts, float* y) const = 0;
  // The memory that a part begins with.
  virtual MemoryRange start(size_t part, size_t parts) const = 0;

  // Many rows x [rows, inputs]; y [rows, outputs].
  virtual void quantize_rows(const float* x, size_t rows, QuantizedActivations& to, const Threads& threads) const = 0;
  virtual void multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const = 0;

  const size_t inputs, outputs;

 protected:
  const Kernels& kernels_;
};

// y = W x, from x quantized for W.
struct Product {
  const Matrix* matrix;
  QuantizedActivations* x;
  float* y;
};

// x [rows, …] for a matrix.
void quantize(const Matrix& matrix, const float* x, size_t rows, const Execution& exec, QuantizedActivations& to);

// Products of so many rows. next: what is multiplied by after these.
void multiply(const Product* products, size_t count, size_t rows, const Matrix* next, const Execution& exec);

// Products of one row by all threads, one after the other; each goes on with the next without waiting for the others.
// `next` is multiplied by after these.
void multiply_row(const Product* products, size_t count, const Matrix* next, const Threads& threads);

}  // namespace rrwkv
