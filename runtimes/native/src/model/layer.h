// Tokens through one layer, and through the head: time-mix, the mediums and channel-mix, in the symbols of the model.
#pragma once

#include <memory>
#include <utility>

#include "exec/execution.h"
#include "model/matrix/matrix.h"
#include "model/medium.h"
#include "model/wkv.h"

namespace rrwkv {

struct Norm {
  const float *gain, *bias;
};

// Weights; all vectors are the graph's own memory. Without mediums, `medium` and what is recalled are null.
struct LayerWeights {
  size_t channels;
  float epsilon;
  Norm ln1, ln2;
  Wkv wkv;
  Mix time, channel;  // [3, C]: k, v, r; [2, C]: k, r
  std::unique_ptr<Matrix> key, value, receptance, output, ffn_key, ffn_receptance, ffn_value;
  std::unique_ptr<Medium> medium;
};

// A layer's share of the states before and after some tokens. shift [2, C]: h' of both blocks.
struct LayerRun {
  const float* shift;
  WkvState wkv;
  float* new_shift;
  NewWkvState new_wkv;
  MediumRun medium;
};

class Layer {
 public:
  explicit Layer(LayerWeights weights) : w_(std::move(weights)) {}
  // x [T, C] to y [T, C], which may be x. next: what is multiplied by after this layer.
  void run(const float* x, const LayerRun& run, const Matrix* next, const Execution& exec, float* y) const;
  const LayerWeights& weights() const { return w_; }

 private:
  void time_mix(const float* h, const float* M, const LayerRun& run, const Execution& exec, float* mixed) const;
  void channel_mix(const float* h, const float* M, const Matrix* next, const Execution& exec, float* r, float* v) const;

  LayerWeights w_;
};

struct HeadWeights {
  float epsilon;
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
