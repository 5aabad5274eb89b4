// The weights of RWKV-4's recurrence.
#pragma once

#include "kernels/kernels.h"
#include "weights/call.h"

namespace rrwkv {

// Of C channels. decay: where it is not among the inputs by itself. Raises std::runtime_error.
Wkv wkv_weights(const Call& from, const std::string& prefix, size_t C, bool stable, const float* decay = nullptr);

}  // namespace rrwkv
