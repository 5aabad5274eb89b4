// One token through the whole model: the layers, what goes into the open segment's medium, the head.
#pragma once

#include <vector>

#include "layer.h"

namespace rrwkv {

// squeeze: of each layer [C], or null where every token weighs the same; interval: 0 without mediums.
struct StepWeights {
  std::vector<Layer> layers;
  Head head;
  std::vector<const float*> squeeze;
  float least_significance, most_significance;
  int64_t interval;
};

// x: the embedded token [C]. Banks and keys of each layer [K, C], [K, R]. sum [L, C] and weight [L] are S and G.
struct StepToken {
  const float *x, *shift, *wkv, *sum, *weight;
  std::vector<const float*> banks, keys;
  size_t slots;
  int64_t position;
  float *logits, *new_shift, *new_wkv, *new_sum, *new_weight;
};

class Step {
 public:
  explicit Step(StepWeights weights) : w_(std::move(weights)) {}
  void run(const StepToken& token, const Threads& threads) const;
  const StepWeights& weights() const { return w_; }
  // A layer's in the state `wkv` [L, rows, C].
  size_t wkv_rows() const { return w_.layers.front().weights().wkv.stable ? 3 : 2; }

 private:
  void squeeze(const StepToken& token) const;

  StepWeights w_;
};

}  // namespace rrwkv
