// The mediums of one layer: what its tokens read of those that are held, and those that they make.
#pragma once

#include <memory>

#include "exec/execution.h"
#include "model/matrix/matrix.h"

namespace rrwkv {

// squeeze [C], or null where every token weighs the same. Where no mediums are made, only sums of the open segment, the
// excitation (down, up) and the keys' matrix are null.
struct MediumWeights {
  std::unique_ptr<Matrix> query, down, up, key;
  const float* squeeze;
  float least_significance, most_significance;
  size_t interval;

  size_t key_size() const { return query->outputs; }
  bool makes_mediums() const { return key != nullptr; }
};

// S [C], G, and of the K held mediums bank [K, C] and keys [K, R]; the newest is the last.
struct MediumState {
  const float *sum, *weight, *bank, *key;
};
struct NewMediumState {
  float *sum, *weight, *bank, *key;
};

struct MediumRun {
  MediumState before;
  NewMediumState after;
  size_t slots, position;  // position: tokens before these
};

class Medium {
 public:
  Medium(MediumWeights weights, size_t channels) : w_(std::move(weights)), C_(channels) {}

  // Of h [T, C]: M [T, C], what each token recalls, and the state after them; of a step alone in which no segment ends,
  // the mediums stay as they are. next: what is multiplied by after this.
  void run(const float* h, const MediumRun& run, const Matrix* next, const Execution& exec, float* M) const;
  const MediumWeights& weights() const { return w_; }

 private:
  void squeeze(const float* h, const MediumRun& run, const Execution& exec, float* z) const;
  void hold(const float* z, size_t n, const MediumRun& run, const Execution& exec) const;
  void excite(const float* z, size_t n, const Execution& exec, float* m, float* keys) const;
  void recall_alone(const float* q, const MediumRun& run, const Execution& exec, float* M) const;
  void recall(const float* q, const float* held, const float* keys, size_t rows, const MediumRun& run,
              const Execution& exec, float* M) const;

  MediumWeights w_;
  size_t C_;
};

}  // namespace rrwkv
