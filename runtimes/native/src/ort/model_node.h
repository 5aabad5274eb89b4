// One token, or any number of them, through a whole model as a node of a graph.
#pragma once

#include "exec/spin_team.h"
#include "model/model.h"
#include "ort/node.h"
#include "weights/architecture.h"

namespace rrwkv {

class ModelNode : public Node {
 protected:
  ModelNode(const Api& api, const NodeInfo& info, const Settings& settings, const Architecture& architecture);

  size_t layers() const { return model_.weights().layers.size(); }
  size_t channels() const { return model_.weights().layer().channels; }
  size_t key_size() const { return model_.weights().layer().medium->weights().key_size(); }
  bool has_mediums() const { return model_.weights().has_mediums(); }
  // Outputs: logits [N, V], shift, what time-mix keeps, and with mediums S and G. The mediums themselves are the
  // caller's.
  ModelRun run_of(OrtKernelContext* context, size_t slots) const;
  // Whether its weights are read from memory, and not from a cache.
  bool large() const;
  // Of all layers.
  Shape state_shape() const;
  float* logits(OrtKernelContext* context, size_t scored) const;
  // action(threads), by all of the session's.
  template <typename Action>
  void together(OrtKernelContext* context, const Action& action) const {
    const SessionThreads pool(api_, context, settings_.threads);
    if (!settings_.spin || pool.count == 1) return action(pool);
    SpinTeam team(pool.count);
    team.lead(pool, [&] { action(team); });
  }

  Model model_;
  Given x_, shift_, recurrent_, position_, sum_, weight_;  // the last three of a model with mediums
};

// One token. Of the mediums, which it only reads, every layer's own inputs.
class StepNode : public ModelNode {
 public:
  StepNode(const Api& api, const OrtKernelInfo* info, const Settings& settings, const Architecture& architecture);
  void run(OrtKernelContext* context) const override;

 private:
  StepNode(const Api& api, const NodeInfo& info, const Settings& settings, const Architecture& architecture);

  std::vector<Given> banks_, keys_;
};

// Any number of tokens. Outputs also the mediums.
class PrefillNode : public ModelNode {
 public:
  PrefillNode(const Api& api, const OrtKernelInfo* info, const Settings& settings, const Architecture& architecture);
  void run(OrtKernelContext* context) const override;

 private:
  void give_mediums(OrtKernelContext* context, ModelRun& run, size_t K) const;
  PrefillNode(const Api& api, const NodeInfo& info, const Settings& settings, const Architecture& architecture);

  Given num_logits_, bank_, key_;
};

}  // namespace rrwkv
