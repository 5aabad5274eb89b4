// Tokens through the whole model: the layers and the head.
#pragma once

#include <utility>
#include <vector>

#include "model/layer.h"

namespace rrwkv {

struct ModelWeights {
  std::vector<Layer> layers;
  Head head;

  const LayerWeights& layer() const { return layers.front().weights(); }
  bool has_mediums() const { return layer().medium != nullptr; }
};

// Of all layers: shift [L, 2, C], wkv [L, 2 or 3, C].
struct ModelRun {
  const float *shift, *wkv;
  float *new_shift, *new_wkv;
  std::vector<MediumRun> mediums;  // of each layer; none without mediums
};

class Model {
 public:
  explicit Model(ModelWeights weights) : w_(std::move(weights)) {}
  // x: the embedded tokens [T, C]. Logits [N, V] of the last `scored` of them.
  void run(const float* x, const ModelRun& run, size_t scored, const Execution& exec, float* logits) const;
  const ModelWeights& weights() const { return w_; }
  // A layer's in the state `wkv`.
  size_t wkv_rows() const { return w_.layer().wkv.stable ? 3 : 2; }

 private:
  ModelWeights w_;
};

}  // namespace rrwkv
