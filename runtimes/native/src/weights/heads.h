// What the readers of RWKV-5, 6 and 7 share: H heads of N channels.
#pragma once

#include "model/products.h"
#include "weights/architecture.h"

namespace rrwkv {

class HeadsReader : public BlockReader {
 protected:
  // bonus: the weight whose shape [H, N] says both. Raises std::runtime_error, as all here.
  HeadsReader(const WeightSource& source, const std::string& bonus);

  // Of a layer's "blocks.3.att.": GroupNorm, a vector by head, and a low-rank pair [C, rank], [rank, C].
  GroupNorm group_norm(const std::string& prefix) const;
  const float* by_head(const std::string& name) const;
  LowRank low_rank(const std::string& down, const std::string& up) const;

  size_t heads_ = 0, size_ = 0;
};

}  // namespace rrwkv
