#include "wkv_node.h"

#include <algorithm>

#include "weights.h"

namespace rrwkv {

WkvNode::WkvNode(const Api& api, const OrtKernelInfo* info, const Settings& settings)
    : WkvNode(api, Inputs(api, info), settings) {}

WkvNode::WkvNode(const Api& api, const Inputs& inputs, const Settings& settings)
    : Node(api, settings),
      wkv_{},
      k_(inputs.place("k")),
      v_(inputs.place("v")),
      r_(inputs.place("r")),
      sums_(inputs.place("sums")) {
  const size_t C = inputs.constant("bonus").count();
  if (C == 0) throw std::runtime_error("input bonus has another shape");
  wkv_ = wkv_weights(inputs, "", C, inputs.has("exponent"));
  if (wkv_.stable) exponent_ = inputs.place("exponent");
}

// k, v, r [T, 1, C], sums and in the stable form the exponent; outputs: gated [T, 1, C], and the states as they came.
void WkvNode::run(OrtKernelContext* context) const {
  const size_t C = wkv_.channels;
  const Value k = value(context, k_);
  if (k.shape.size() != 3 || k.count() % C) throw std::runtime_error("an input has another shape");
  WkvState before{input(context, sums_, 2 * C), nullptr};
  float* gated = output(context, 0, k.shape);
  NewWkvState after{output(context, 1, value(context, sums_).shape), nullptr};
  if (wkv_.stable) {
    before.exponent = input(context, exponent_, C);
    after.exponent = output(context, 2, value(context, exponent_).shape);
  }
  if (k.count() == 0) {  // a run of no tokens
    std::copy_n(before.sums, 2 * C, after.sums);
    if (wkv_.stable) std::copy_n(before.exponent, C, after.exponent);
  }
  run_wkv(wkv_, input(context, k_, k.count()), input(context, v_, k.count()), input(context, r_, k.count()), before,
          k.count() / C, gated, after, SessionThreads(api_, context, settings_.threads));
}

}  // namespace rrwkv
