// The operator rrwkv::DecodeStep: a node of the graph as a `Step`.
#pragma once

#include "step.h"
#include "values.h"

namespace rrwkv {

class StepNode {
 public:
  // Raises std::runtime_error.
  StepNode(const Api& api, const OrtKernelInfo* info, size_t threads);
  void run(OrtKernelContext* context) const;

 private:
  struct Places {
    size_t x, position, shift, wkv, sum, weight;
    std::vector<size_t> banks, keys;
  };

  StepNode(const Api& api, const Inputs& inputs, size_t threads);
  const float* input(OrtKernelContext* context, size_t place, size_t count) const;
  float* output(OrtKernelContext* context, size_t place, const Shape& shape) const;
  void read_mediums(OrtKernelContext* context, StepToken& token) const;

  Api api_;
  size_t threads_;
  Step step_;
  Places places_;
};

}  // namespace rrwkv
