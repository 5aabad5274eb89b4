// A model's weights among a node's inputs, by the names that rrwkv-export gives them: what each must be is said here,
// of every layer, before a kernel sees it. No instruction that only newer processors have is needed for it. All that
// raises here raises std::runtime_error.
#pragma once

#include <memory>
#include <string>

#include "kernels/kernels.h"
#include "model/layer.h"
#include "weights/call.h"

namespace rrwkv {

class WeightSource {
 public:
  // A model's, whose sizes the node's attributes and ln_out say.
  WeightSource(const Call& from, const Kernels& kernels);

  // The weights of a product in whatever form the graph holds them; 0 outputs: any number.
  std::unique_ptr<Matrix> matrix(const std::string& role, size_t inputs, size_t outputs) const;
  // [C]
  const float* vector(const std::string& name) const;
  // Of so many roles, each [C].
  Mix mix(const std::string& name, int64_t roles) const;
  Norm norm(const std::string& name) const;
  // An attribute: a number from 0 on.
  float epsilon(const char* attribute) const;

  const Call& from;
  const Kernels& kernels;
  const size_t layers, channels, interval;  // interval: 0 without mediums
};

}  // namespace rrwkv
