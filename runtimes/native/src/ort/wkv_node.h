// The operator rrwkv::GatedWKV: a node of the graph as the recurrence over any number of tokens.
#pragma once

#include "model/rwkv4/wkv.h"
#include "ort/node.h"

namespace rrwkv {

class WkvNode : public Node {
 public:
  WkvNode(const Api& api, const OrtKernelInfo* info, const Settings& settings);
  void run(OrtKernelContext* context) const override;

 private:
  WkvNode(const Api& api, const NodeInfo& info, const Settings& settings);

  Wkv wkv_;
  Given k_, v_, r_, sums_, exponent_;
};

}  // namespace rrwkv
