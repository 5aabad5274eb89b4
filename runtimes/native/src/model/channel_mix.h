// Channel-mix: of RWKV-7 without a receptance, of the others with one.
#pragma once

#include <memory>
#include <utility>

#include "model/blocks.h"

namespace rrwkv {

// receptance: null where there is none.
struct ChannelMixWeights {
  size_t channels;
  Mix mix;  // [2, C]: k, r; or [1, C]: k
  std::unique_ptr<Matrix> key, value, receptance;
};

// Wvalue relu(k)², or σ(r) ⊙ that
class ChannelMix {
 public:
  explicit ChannelMix(ChannelMixWeights weights) : w_(std::move(weights)) {}
  // y [T, C] = x + what is mixed; y is not x. next: what is multiplied by after this.
  void run(const BlockInput& of, const float* x, const Matrix* next, const Execution& exec, float* y) const;
  // What it multiplies by first.
  const Matrix& first() const { return *w_.key; }

 private:
  ChannelMixWeights w_;
};

}  // namespace rrwkv
