#include "weights/heads.h"

namespace rrwkv {

HeadsReader::HeadsReader(const WeightSource& source, const std::string& name) : BlockReader(source) {
  const Value& bonus = of_.from.constant(name);
  expect_exactly(bonus, name, kFloat, {kAny, kAny});
  heads_ = static_cast<size_t>(bonus.shape[0]);
  size_ = static_cast<size_t>(bonus.shape[1]);
  if (bonus.count != of_.channels)
    throw std::runtime_error(name + " must have " + std::to_string(of_.channels) + " values, not " +
                             std::to_string(bonus.count));
}

GroupNorm HeadsReader::group_norm(const std::string& prefix) const {
  return {by_head(prefix + "ln_x.weight"), by_head(prefix + "ln_x.bias"), of_.epsilon("group_norm_epsilon")};
}

const float* HeadsReader::by_head(const std::string& name) const {
  return of_.from.values(name, {size(heads_), size(size_)});
}

LowRank HeadsReader::low_rank(const std::string& down, const std::string& up) const {
  LowRank of{of_.matrix(down, of_.channels, 0), nullptr};
  of.up = of_.matrix(up, of.down->outputs, of_.channels);
  return of;
}

}  // namespace rrwkv
