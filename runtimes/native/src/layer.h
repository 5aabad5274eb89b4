// One token through one layer, and through the head: time-mix, the reading of the mediums and channel-mix, in the
// symbols of the model.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "matrix.h"
#include "threads.h"
#include "wkv.h"

namespace rrwkv {

// y = W x, from x rounded for W.
struct Product {
  const Matrix* matrix;
  Rounded* x;
  float* y;
};

// Products by all threads, one after the other; each goes on with the next without waiting for the others. `next` is
// multiplied by after these.
void multiply(const Product* products, size_t count, const Matrix* next, const Threads& threads);

struct Norm {
  const float *gain, *bias;
};

// Weights; all vectors are the graph's own memory. Without mediums, `query` and what is recalled are null.
struct LayerWeights {
  size_t channels, key_size;
  float epsilon;
  Norm ln1, ln2;
  Wkv wkv;
  const float *time_now, *time_before, *time_recalled;           // [3, C]: k, v, r
  const float *channel_now, *channel_before, *channel_recalled;  // [2, C]: k, r
  std::unique_ptr<Matrix> query, key, value, receptance, output, ffn_key, ffn_receptance, ffn_value;
};

// A layer's share of a token, and of the states before and after it.
struct LayerToken {
  const float *x, *shift;  // [C], [2, C]: h' of both blocks
  WkvState wkv;
  const float *bank, *key, *mask;  // [K, C], [K, R], [1 + K]
  size_t slots;
  float *y, *new_shift;
  NewWkvState new_wkv;
};

class Layer {
 public:
  explicit Layer(LayerWeights weights) : w_(std::move(weights)) {}
  // next: what is multiplied by after this layer.
  void run(const LayerToken& token, const Matrix* next, const Threads& threads) const;
  const LayerWeights& weights() const { return w_; }

 private:
  const float* recall(const LayerToken& token, const Threads& threads) const;
  void time_mix(const LayerToken& token, const float* M, float* x, const Threads& threads) const;
  void channel_mix(const LayerToken& token, const float* M, const float* x, const Matrix* next,
                   const Threads& threads) const;

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
  void run(const float* x, float* logits, const Threads& threads) const;
  const HeadWeights& weights() const { return w_; }

 private:
  HeadWeights w_;
};

}  // namespace rrwkv
