// The operator rrwkv::DecodeStep: a node of the graph as a `Step`.
#pragma once

#include "node.h"
#include "step.h"

namespace rrwkv {

class StepNode : public Node {
 public:
  StepNode(const Api& api, const OrtKernelInfo* info, size_t threads);
  void run(OrtKernelContext* context) const override;

 private:
  struct Places {
    size_t x, position, shift, wkv, sum, weight;
    std::vector<size_t> banks, keys;
  };

  StepNode(const Api& api, const Inputs& inputs, size_t threads);
  void read_mediums(OrtKernelContext* context, StepToken& token) const;

  Step step_;
  Places places_;
};

}  // namespace rrwkv
