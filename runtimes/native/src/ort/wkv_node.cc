#include "ort/wkv_node.h"

#include <algorithm>

#include "weights/rwkv4.h"

namespace rrwkv {

WkvNode::WkvNode(const Api& api, const OrtKernelInfo* info, const Settings& settings)
    : WkvNode(api, NodeInfo(api, info), settings) {}

WkvNode::WkvNode(const Api& api, const NodeInfo& info, const Settings& settings)
    : Node(api, settings),
      wkv_{},
      k_(info.given("k")),
      v_(info.given("v")),
      r_(info.given("r")),
      sums_(info.given("sums")),
      exponent_{} {
  wkv_ = wkv_weights(info, "", info.size_of("bonus"), info.has("exponent"));
  if (wkv_.stable) exponent_ = info.given("exponent");
  info.expect_outputs(wkv_.stable ? 3 : 2);
}

// k, v, r [T, 1, C], sums and in the stable form the exponent; outputs: gated [T, 1, C], and the states as they came.
void WkvNode::run(OrtKernelContext* context) const {
  const size_t C = wkv_.channels;
  const Value k = value(context, k_);
  const size_t T = k.count / C;
  if (k.shape.size() != 3) throw std::runtime_error("k must be float32 [T, 1, C]");
  WkvState before{input(context, sums_, {2, C}), nullptr};
  float* gated = output(context, 0, k.shape);
  NewWkvState after{output(context, 1, value(context, sums_).shape), nullptr};
  if (wkv_.stable) {
    before.exponent = input(context, exponent_, {C});
    after.exponent = output(context, 2, value(context, exponent_).shape);
  }
  if (T == 0) {  // a run of no tokens
    std::copy_n(before.sums, 2 * C, after.sums);
    if (wkv_.stable) std::copy_n(before.exponent, C, after.exponent);
  }
  run_wkv(*settings_.kernels, wkv_, input(context, k_, {T, C}), input(context, v_, {T, C}), input(context, r_, {T, C}),
          before, T, gated, after, SessionThreads(api_, context, settings_.threads));
}

}  // namespace rrwkv
