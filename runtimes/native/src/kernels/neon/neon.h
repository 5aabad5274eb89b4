// Kernels of Armv8.2 with dot products, and with products of small matrices of bytes (i8mm) for many rows.
#pragma once

#include "kernels/kernels.h"

namespace rrwkv::neon {

namespace dotprod {
extern const Kernels kTable;
}
namespace i8mm {
extern const Kernels kTable;
}

}  // namespace rrwkv::neon
