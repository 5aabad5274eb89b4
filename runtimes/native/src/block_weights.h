// Blockwise weights among a node's inputs.
#pragma once

#include "block_product.h"
#include "values.h"

namespace rrwkv {

// A weight [N, blocks, block / (8 / bits)] of this many inputs and its scales, held against each other's shapes.
inline BlockMatrix block_matrix(const Inputs& from, const std::string& weight_name, const std::string& scale_name,
                                size_t inputs, size_t bits) {
  const Value& weight = from.constant(weight_name);
  const bool ranked = weight.type == kUint8 && weight.shape.size() == 3 && weight.shape[0] > 0;
  const size_t block = ranked ? static_cast<size_t>(weight.shape[2]) * 8 / bits : 0;
  const bool fits = block >= 16 && block <= 1024 && (block & (block - 1)) == 0 &&
                    weight.shape[1] == static_cast<int64_t>((inputs + block - 1) / block);
  if (!fits) throw std::runtime_error("input " + weight_name + " has another shape");
  const auto outputs = static_cast<size_t>(weight.shape[0]), blocks = static_cast<size_t>(weight.shape[1]);
  const float* scale = from.values<float>(scale_name, outputs * blocks);
  return {static_cast<const uint8_t*>(weight.data), scale, inputs, outputs, block, bits};
}

}  // namespace rrwkv
