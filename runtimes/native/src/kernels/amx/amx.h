// What the table of kernels takes of the processor's matrix unit. Nothing of it is there where the compiler or the
// system does not know it.
#pragma once

#include "kernels/kernels.h"

namespace rrwkv::amx {

// Whether the processor has it, and the system lets this process use it.
bool allowed();

extern const TileKernels kTileKernels;

}  // namespace rrwkv::amx
