// All weights of a model.
#pragma once

#include "model/model.h"
#include "weights/architecture.h"

namespace rrwkv {

// Raises std::runtime_error.
ModelWeights model_weights(const Call& from, const Kernels& kernels, const Architecture& architecture);

}  // namespace rrwkv
