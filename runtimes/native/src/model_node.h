// rrwkv::DecodeStep and rrwkv::Prefill as nodes of a graph.
#pragma once

#include "model.h"
#include "node.h"
#include "team.h"

namespace rrwkv {

class ModelNode : public Node {
 protected:
  ModelNode(const Api& api, const Inputs& inputs, const Settings& settings);

  size_t layers() const { return model_.weights().layers.size(); }
  size_t channels() const { return model_.weights().layer().channels; }
  size_t key_size() const { return model_.weights().layer().medium->weights().key_size(); }
  // Outputs: logits [N, V], shift, wkv, and with mediums S and G. The mediums themselves are the caller's.
  ModelRun run_of(OrtKernelContext* context, size_t slots) const;
  float* logits(OrtKernelContext* context, size_t scored) const;
  // action(threads), by all of the session's.
  template <typename Action>
  void together(OrtKernelContext* context, const Action& action) const {
    const SessionThreads pool(api_, context, settings_.threads);
    if (!settings_.spin || pool.count == 1) return action(pool);
    Team team(pool.count);
    team.lead(pool, [&] { action(team); });
  }

  struct Places {
    size_t x, shift, wkv, position, sum, weight;
  };
  Model model_;
  Places places_;
};

// One token. Of the mediums, which it only reads, every layer's own inputs.
class StepNode : public ModelNode {
 public:
  StepNode(const Api& api, const OrtKernelInfo* info, const Settings& settings);
  void run(OrtKernelContext* context) const override;

 private:
  StepNode(const Api& api, const Inputs& inputs, const Settings& settings);

  std::vector<size_t> banks_, keys_;
};

// Any number of tokens. Outputs also the mediums.
class PrefillNode : public ModelNode {
 public:
  PrefillNode(const Api& api, const OrtKernelInfo* info, const Settings& settings);
  void run(OrtKernelContext* context) const override;

 private:
  PrefillNode(const Api& api, const Inputs& inputs, const Settings& settings);

  size_t num_logits_, bank_ = 0, key_ = 0;
};

}  // namespace rrwkv
