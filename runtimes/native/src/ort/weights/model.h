// All weights of a model.
#pragma once

#include "model/model.h"
#include "ort/weights/architecture.h"

namespace rrwkv {

// Raises std::runtime_error.
ModelWeights model_weights(const NodeInfo& from, const Kernels& kernels, const Architecture& architecture);

}  // namespace rrwkv
