// A model's weights among a node's inputs, by the names that rrwkv-export gives them: what each must be is said here,
// of every layer, before a kernel sees it. No instruction that only newer processors have is needed for it.
#pragma once

#include <string>

#include "kernels/kernels.h"
#include "model/model.h"
#include "ort/node_info.h"

namespace rrwkv {

// Of C channels. decay: where it is not among the inputs by itself. Raises std::runtime_error.
Wkv wkv_weights(const NodeInfo& from, const std::string& prefix, size_t C, bool stable, const float* decay = nullptr);

// Raises std::runtime_error.
ModelWeights model_weights(const NodeInfo& from, const Kernels& kernels);

}  // namespace rrwkv
