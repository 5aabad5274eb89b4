// The processor's matrix unit. Nothing of it is there where the compiler or the system does not know it.
#pragma once

#include "tiles.h"

namespace rrwkv::amx {

// Whether the processor has it, and the system lets this process use it.
bool allowed();

// Around all products of a thread.
void begin();
void end();

// As Tiles::multiply.
void multiply(const Piece& piece, int32_t* sums);

}  // namespace rrwkv::amx
