// RWKV-6's time-mix, and RWKV-5's, whose mixes and decay are those of all tokens; with mediums and without.
#pragma once

#include <memory>
#include <utility>

#include "model/products.h"
#include "model/rwkv6/heads.h"

namespace rrwkv::rwkv6 {

constexpr size_t kMoved = 5;  // mixes that a token moves: w, k, v, r, g

// What a token moves its mixes by, along d = h' - h: M_q = tanh(x down)_q up[q].
struct Moves {
  std::unique_ptr<Matrix> down, up[kMoved];

  explicit operator bool() const { return down != nullptr; }
  size_t rank() const { return up[0]->inputs; }
};

// moves and w: none in RWKV-5. gate: null in RWKV-5.0.
struct TimeMixWeights {
  HeadsWeights heads;
  Mix mix;  // [7, C]: x, w, k, v, r, g, d; of RWKV-5 [4, C]: k, v, r, g, or without g
  Moves moves;
  LowRank w;
  std::unique_ptr<Matrix> receptance, key, value, gate, output;
};

// Woutput (GN(y) ⊙ SiLU(g))
class TimeMix : public rrwkv::TimeMix {
 public:
  explicit TimeMix(TimeMixWeights weights) : w_(std::move(weights)) {}
  void run(const BlockInput& x, const Recurrent& state, const Matrix* next, const Execution& exec,
           float* mixed) const override;
  const Matrix& first() const override { return w_.moves ? *w_.moves.down : *w_.key; }
  std::vector<size_t> state_shape() const override { return {w_.heads.count, w_.heads.size, w_.heads.size}; }

 private:
  struct Workspace;
  void move(float* mixes, const Execution& exec, Workspace& m) const;
  HeadsRun project(const float* mixes, const Execution& exec, Workspace& m) const;

  TimeMixWeights w_;
};

}  // namespace rrwkv::rwkv6
