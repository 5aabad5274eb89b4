// The operator rrwkv::BlockProduct: MatMulNBits with activations rounded to int8, for any number of rows.
#pragma once

#include "block_product.h"
#include "node.h"

namespace rrwkv {

class BlockNode : public Node {
 public:
  BlockNode(const Api& api, const OrtKernelInfo* info, size_t threads);
  void run(OrtKernelContext* context) const override;

 private:
  BlockMatrix matrix_;
  size_t x_;
};

}  // namespace rrwkv
