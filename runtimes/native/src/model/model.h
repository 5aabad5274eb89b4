// Tokens through the whole model: the layers and the head.
#pragma once

#include <utility>
#include <vector>

#include "model/head.h"

namespace rrwkv {

struct ModelWeights {
  std::vector<Layer> layers;
  Head head;

  const LayerWeights& layer() const { return layers.front().weights(); }
  bool has_mediums() const { return layer().medium != nullptr; }
};

// Of all layers: shift [L, 2, C], and what time-mix keeps [L, …].
struct ModelRun {
  const float *shift, *recurrent;
  float *new_shift, *new_recurrent;
  std::vector<MediumRun> mediums;  // of each layer; none without mediums
};

class Model {
 public:
  explicit Model(ModelWeights weights) : w_(std::move(weights)) {}
  // x: the embedded tokens [T, C]. Logits [N, V] of the last `scored` of them.
  void run(const float* x, const ModelRun& run, size_t scored, const Execution& exec, float* logits) const;
  const ModelWeights& weights() const { return w_; }

 private:
  ModelWeights w_;
};

}  // namespace rrwkv
