// A model's weights among a node's inputs, by the names that rrwkv-export gives them.
#pragma once

#include <string>

#include "model.h"
#include "values.h"

namespace rrwkv {

// Of C channels. decay: where it is not among the inputs by itself. Raises std::runtime_error.
Wkv wkv_weights(const Inputs& from, const std::string& prefix, size_t C, bool stable, const float* decay = nullptr);

// Raises std::runtime_error.
ModelWeights model_weights(const Inputs& from);

}  // namespace rrwkv
