// What the table of kernels takes of plain C++.
#pragma once

#include "kernels/kernels.h"

namespace rrwkv::scalar {

extern const RWKV7Kernels kRWKV7Kernels;

}  // namespace rrwkv::scalar
