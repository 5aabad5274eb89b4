// Tokens through the head: the logits.
#pragma once

#include <memory>
#include <utility>

#include "model/layer.h"

namespace rrwkv {

struct HeadWeights {
  Norm ln_out;
  std::unique_ptr<Matrix> matrix;
};

class Head {
 public:
  explicit Head(HeadWeights weights) : w_(std::move(weights)) {}
  void run(const float* x, const Matrix* next, const Execution& exec, float* logits) const;
  const HeadWeights& weights() const { return w_; }

 private:
  HeadWeights w_;
};

}  // namespace rrwkv
