#include "wkv_node.h"

#include <algorithm>

namespace rrwkv {

WkvNode::WkvNode(const Api& api, const OrtKernelInfo* info, size_t threads) : WkvNode(api, Inputs(api, info), threads) {}

WkvNode::WkvNode(const Api& api, const Inputs& inputs, size_t threads)
    : Node(api, threads), wkv_{}, k_(inputs.place("k")), v_(inputs.place("v")), r_(inputs.place("r")),
      state_(inputs.place("state")) {
  const size_t C = inputs.constant("exp_u").count();
  if (C == 0) throw std::runtime_error("input exp_u has another shape");
  wkv_ = {C, *inputs.values<float>("least_exp", 1), *inputs.values<float>("most_exp", 1),
          inputs.values<float>("exp_u", C), inputs.values<float>("exp_minus_d", C)};
}

// k, v, r [T, 1, C] and state [2, C] or [1, 2, C]; outputs: gated [T, 1, C], and the new state, shaped as the old one.
void WkvNode::run(OrtKernelContext* context) const {
  const size_t C = wkv_.channels;
  const Value k = value(context, k_), state = value(context, state_);
  if (k.shape.size() != 3 || k.count() % C) throw std::runtime_error("an input has another shape");
  float* gated = output(context, 0, k.shape);
  float* next = output(context, 1, state.shape);
  const float* before = input(context, state_, 2 * C);
  if (k.count() == 0) std::copy_n(before, 2 * C, next);
  run_wkv(wkv_, input(context, k_, k.count()), input(context, v_, k.count()), input(context, r_, k.count()), before,
          k.count() / C, gated, next, SessionThreads(api_, context, threads_));
}

}  // namespace rrwkv
