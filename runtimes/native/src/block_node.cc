#include "block_node.h"

#include "block_weights.h"

namespace rrwkv {

BlockNode::BlockNode(const Api& api, const OrtKernelInfo* info, size_t threads) : Node(api, threads) {
  const Inputs inputs(api, info);
  x_ = inputs.place("x");
  const int64_t K = inputs.number<int64_t>("K"), bits = inputs.number<int64_t>("bits");
  if (K <= 0 || (bits != 4 && bits != 8)) throw std::runtime_error("a node's attributes are wrong");
  matrix_ = block_matrix(inputs, "weight", "scale", static_cast<size_t>(K), static_cast<size_t>(bits));
  if (static_cast<int64_t>(matrix_.block) != inputs.number<int64_t>("block_size"))
    throw std::runtime_error("input weight has another shape");
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
