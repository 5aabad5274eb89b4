// Products that need not wait for each other; and low-rank matrices.
#pragma once

#include <memory>

#include "model/matrix/matrix.h"

namespace rrwkv {

constexpr size_t kMostProducts = 7;

// x m1 m2, of a rank that the matrices say.
struct LowRank {
  std::unique_ptr<Matrix> down, up;

  explicit operator bool() const { return down != nullptr; }
  size_t rank() const { return down->outputs; }
};

// Up to kMostProducts, each with activations of its own.
class Products {
 public:
  explicit Products(QuantizedActivations (&activations)[kMostProducts]) : activations_(activations) {}

  // x [T, …] for a matrix, and the product y [T, …].
  void add(const Matrix& by, const float* x, const Execution& exec, float* y) {
    quantize(by, x, exec.tokens, exec, activations_[count_]);
    of_[count_] = {&by, &activations_[count_], y};
    ++count_;
  }

  // next: what is multiplied by after these.
  void multiply(const Matrix* next, const Execution& exec) const {
    rrwkv::multiply(of_, count_, exec.tokens, next, exec);
  }

 private:
  QuantizedActivations (&activations_)[kMostProducts];
  Product of_[kMostProducts];
  size_t count_ = 0;
};

}  // namespace rrwkv
