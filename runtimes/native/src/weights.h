// A model's weights among a node's inputs, by the names that rrwkv-export gives them.
#pragma once

#include "model.h"
#include "values.h"

namespace rrwkv {

// Raises std::runtime_error.
ModelWeights model_weights(const Inputs& from);

}  // namespace rrwkv
