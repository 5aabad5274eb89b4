// RWKV-4's time-mix, with mediums and without.
#pragma once

#include <memory>
#include <utility>

#include "model/blocks.h"

namespace rrwkv::rwkv4 {

struct TimeMixWeights {
  size_t channels;
  Wkv wkv;
  Mix mix;  // [3, C]: k, v, r
  std::unique_ptr<Matrix> key, value, receptance, output;
};

// Woutput (σ(r) ⊙ wkv)
class TimeMix : public rrwkv::TimeMix {
 public:
  explicit TimeMix(TimeMixWeights weights) : w_(std::move(weights)) {}
  void run(const BlockInput& x, const Recurrent& state, const Matrix* next, const Execution& exec,
           float* mixed) const override;
  const Matrix& first() const override { return *w_.key; }
  std::vector<size_t> state_shape() const override { return {w_.wkv.stable ? 3u : 2u, w_.channels}; }

 private:
  TimeMixWeights w_;
};

}  // namespace rrwkv::rwkv4
