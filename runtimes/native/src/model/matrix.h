// Weight matrices as a quantized graph holds them, read in place, times activations in whole numbers: one row of them,
// where the weights are what takes time, or many, where the products are.
#pragma once

#include <cstddef>

#include "exec/quantized_activations.h"
#include "exec/threads.h"

namespace rrwkv {

class Matrix {
 public:
  Matrix(size_t inputs, size_t outputs) : inputs(inputs), outputs(outputs) {}
  virtual ~Matrix() = default;

  // One row x [inputs]; y [outputs].
  virtual void quantize(const float* x, QuantizedActivations& quantized) const = 0;
  // One thread's part of the work on y, of `parts`. Sums of several parts are put together by `finish`. `after`: what
  // this thread reads next, to be fetched when the end comes near.
  virtual void multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after,
                        float* y) const = 0;
  virtual void finish(const QuantizedActivations& x, size_t parts, float* y) const = 0;
  // The memory that a part begins with.
  virtual MemoryRange start(size_t part, size_t parts) const = 0;

  // Many rows x [rows, inputs]; y [rows, outputs].
  virtual void quantize_rows(const float* x, size_t rows, QuantizedActivations& quantized,
                             const Threads& threads) const = 0;
  // amx: by the processor's matrix unit, where that can be.
  virtual void multiply_rows(QuantizedActivations& x, size_t rows, bool amx, const Threads& threads,
                             float* y) const = 0;

  const size_t inputs, outputs;
};

// y = W x, from x quantized for W.
struct Product {
  const Matrix* matrix;
  QuantizedActivations* x;
  float* y;
};

// Products of one row by all threads, one after the other; each goes on with the next without waiting for the others.
// `next` is multiplied by after these.
void multiply(const Product* products, size_t count, const Matrix* next, const Threads& threads);

}  // namespace rrwkv
