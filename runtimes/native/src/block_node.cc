#include "block_node.h"

namespace rrwkv {

BlockNode::BlockNode(const Api& api, const OrtKernelInfo* info, size_t threads) : Node(api, threads) {
  const Inputs inputs(api, info);
  x_ = inputs.place("x");
  const int64_t K = inputs.number<int64_t>("K"), bits = inputs.number<int64_t>("bits");
  const int64_t block = inputs.number<int64_t>("block_size");
  const Value& weight = inputs.constant("weight");
  const bool known = (bits == 4 || bits == 8) && block >= 16 && block <= 1024 && (block & (block - 1)) == 0 && K > 0;
  const bool fits = known && weight.type == kUint8 && weight.shape.size() == 3 && weight.shape[0] > 0 &&
                    weight.shape[1] == (K + block - 1) / block && weight.shape[2] == block * bits / 8;
  if (!fits) throw std::runtime_error("the weight of a block product has another shape");
  const auto outputs = static_cast<size_t>(weight.shape[0]), blocks = static_cast<size_t>(weight.shape[1]);
  matrix_ = {static_cast<const uint8_t*>(weight.data),
             inputs.values<float>("scale", outputs * blocks),
             static_cast<size_t>(K),
             outputs,
             static_cast<size_t>(block),
             static_cast<size_t>(bits)};
}

void BlockNode::run(OrtKernelContext* context) const {
  const Value x = value(context, x_);
  if (x.shape.empty() || x.shape.back() != static_cast<int64_t>(matrix_.inputs))
    throw std::runtime_error("an input has another shape");
  Shape shape = x.shape;
  shape.back() = static_cast<int64_t>(matrix_.outputs);
  float* y = output(context, 0, shape);
  const float* values = input(context, x_, x.count());
  multiply(matrix_, values, x.count() / matrix_.inputs, y, SessionThreads(api_, context, threads_));
}

}  // namespace rrwkv
