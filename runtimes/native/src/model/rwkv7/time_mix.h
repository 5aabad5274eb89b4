// RWKV-7's time-mix, with mediums and without.
#pragma once

#include <memory>
#include <utility>

#include "model/products.h"
#include "model/rwkv7/heads.h"

namespace rrwkv::rwkv7 {

struct TimeMixWeights {
  HeadsWeights heads;
  Mix mix;  // [6, C]: r, w, k, v, a, g
  std::unique_ptr<Matrix> receptance, key, value, output;
  LowRank w, a, v, g;  // v: none in layer 0, whose own value is v_first
};

// Woutput (o ⊙ g). Layers run one after the other in one thread, the first one first: it leaves v_first to the others.
class TimeMix : public rrwkv::TimeMix {
 public:
  explicit TimeMix(TimeMixWeights weights) : w_(std::move(weights)) {}
  void run(const BlockInput& x, const Recurrent& state, const Matrix* next, const Execution& exec,
           float* mixed) const override;
  const Matrix& first() const override { return *w_.receptance; }
  std::vector<size_t> state_shape() const override { return {w_.heads.count, w_.heads.size, w_.heads.size}; }

 private:
  struct Workspace;
  HeadsRun project(const float* mixes, const Execution& exec, Workspace& m) const;

  TimeMixWeights w_;
};

}  // namespace rrwkv::rwkv7
