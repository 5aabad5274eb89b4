// Kernels of WebAssembly with vectors of 128 bits. Which engine runs them is asked before the module is compiled: a
// module has one table, with relaxed vectors (whose products and sums are fused on any processor of today that has such
// an instruction) or without.
#pragma once

#include "kernels/kernels.h"

namespace rrwkv::wasm {

extern const Kernels kTable;

}  // namespace rrwkv::wasm
