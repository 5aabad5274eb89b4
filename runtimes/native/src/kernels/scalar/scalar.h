// Kernels in plain C++.
#pragma once

#include "kernels/kernels.h"

namespace rrwkv::scalar {

extern const Kernels kTable;

}  // namespace rrwkv::scalar
