// A whole model from ids to logits, for a host that keeps its states.
#pragma once

#include <memory>

#include "model/model.h"
#include "wasm/embedding.h"
#include "wasm/host_call.h"

namespace rrwkv {

// The states of a run; the last four only of a model with mediums.
enum State : size_t { kShift, kRecurrent, kMediumSum, kMediumWeight, kMediumBank, kMediumKey, kStates };

// What a run is of: ids [tokens], of which the last `scored` give logits [scored, V]. A state after is not the one
// before; of one token in which no segment ends, the bank's and the keys' are left as they are.
struct Run {
  const int32_t* ids;
  uint32_t tokens, scored, slots;
  int64_t position;
  const float* before[kStates];
  float* after[kStates];
  float* logits;
};

// All that raises here raises std::runtime_error.
class Session {
 public:
  // named: an operator of the domain rrwkv. slots: places for mediums.
  Session(const std::string& named, const HostCall& call, size_t slots);

  // One run at a time, of all sessions.
  void run(const Run& run, const Threads& threads) const;
  // Of a state: its shape; empty if the model has none.
  const Shape& shape(size_t state) const { return shapes_[state]; }
  size_t vocabulary() const { return model_.weights().head.weights().matrix->outputs; }
  // The most tokens of a run.
  size_t most_tokens() const { return most_tokens_; }

 private:
  bool has_mediums() const { return model_.weights().has_mediums(); }
  ModelRun run_of(const Run& run) const;

  Model model_;
  std::unique_ptr<Embedding> embedding_;
  size_t slots_, most_tokens_;
  Shape shapes_[kStates];
};

}  // namespace rrwkv
