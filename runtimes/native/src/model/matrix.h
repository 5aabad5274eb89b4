// Weight matrices as a quantized graph holds them, read in place, times activations in whole numbers: one row of them,
// where the weights are what takes time, or many, where the products are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "exec/threads.h"

namespace rrwkv {

// Memory that a 512-bit load may read to its end.
template <typename T>
class Scratch {
 public:
  T* of(size_t count) {
    if (count > size_) {
      size_ = 0;
      data_.reset(static_cast<T*>(operator new(count * sizeof(T) + 128, std::align_val_t{64})));
      size_ = count;
    }
    return data_.get();
  }
  T* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { operator delete(p, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

// Activations, rounded for one matrix.
struct Rounded {
  Scratch<uint8_t> bytes;  // unsigned for `Columns`, signed for `Blocks`
  float scale = 1;         // of `Columns`
  int zero = 0;
  Scratch<int32_t> sums;         // of `Columns`: of one row, a row for each part; of many, what columns sum up to
  Scratch<int8_t> packed;        // of `Columns` and many rows: weights
  Scratch<float> scales, zeros;  // of `Blocks`: each block's scale (of one row: each lane's), and that times what zero
                                 // points add
  Scratch<float> values;  // of `FloatBlocks`: as they are, with zeros to the end; of `Blocks`: each block's scale
};

class Matrix {
 public:
  Matrix(size_t inputs, size_t outputs) : inputs(inputs), outputs(outputs) {}
  virtual ~Matrix() = default;

  // One row x [inputs]; y [outputs].
  virtual void round(const float* x, Rounded& rounded) const = 0;
  // One thread's part of the work on y, of `parts`. Sums of several parts are put together by `finish`. `after`: what
  // this thread reads next, to be fetched when the end comes near.
  virtual void multiply(Rounded& x, size_t part, size_t parts, const Stretch& after, float* y) const = 0;
  virtual void finish(const Rounded& x, size_t parts, float* y) const = 0;
  // The memory that a part begins with.
  virtual Stretch start(size_t part, size_t parts) const = 0;

  // Many rows x [rows, inputs]; y [rows, outputs].
  virtual void round_rows(const float* x, size_t rows, Rounded& rounded, const Threads& threads) const = 0;
  // amx: by the processor's matrix unit, where that can be.
  virtual void multiply_rows(Rounded& x, size_t rows, bool amx, const Threads& threads, float* y) const = 0;

  const size_t inputs, outputs;
};

// y = W x, from x rounded for W.
struct Product {
  const Matrix* matrix;
  Rounded* x;
  float* y;
};

// Products of one row by all threads, one after the other; each goes on with the next without waiting for the others.
// `next` is multiplied by after these.
void multiply(const Product* products, size_t count, const Matrix* next, const Threads& threads);

}  // namespace rrwkv
