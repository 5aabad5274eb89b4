// Tokens through one layer: norms, the mediums, time-mix and channel-mix, in the symbols of the model.
#pragma once

#include <memory>
#include <utility>

#include "model/blocks.h"
#include "model/channel_mix.h"
#include "model/medium.h"

namespace rrwkv {

struct Norm {
  const float *gain, *bias;
  float epsilon;
};

// Weights; all vectors are the graph's own memory. Without mediums, `medium` is null.
struct LayerWeights {
  size_t channels;
  Norm ln1, ln2;
  std::unique_ptr<TimeMix> time;
  std::unique_ptr<ChannelMix> channel;
  std::unique_ptr<Medium> medium;
};

// A layer's share of the states before and after some tokens. shift [2, C]: h' of both blocks.
struct LayerRun {
  const float* shift;
  float* new_shift;
  Recurrent recurrent;
  MediumRun medium;
};

class Layer {
 public:
  explicit Layer(LayerWeights weights) : w_(std::move(weights)) {}
  // x [T, C] to y [T, C], which may be x. next: what is multiplied by after this layer.
  void run(const float* x, const LayerRun& run, const Matrix* next, const Execution& exec, float* y) const;
  const LayerWeights& weights() const { return w_; }

 private:
  LayerWeights w_;
};

// LN(x) of some rows [T, C]
void normalize(const Norm& norm, const float* x, size_t C, const Execution& exec, float* h);

}  // namespace rrwkv
