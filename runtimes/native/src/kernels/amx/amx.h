// The processor's matrix unit. Nothing of it is there where the compiler or the system does not know it.
#pragma once

#include "kernels/avx512/tiles.h"

namespace rrwkv::amx {

// Whether the processor has it, and the system lets this process use it.
bool allowed();

// Around all products of a thread. depth: values of a row that a tile holds, at most 64.
void begin(size_t depth);
void end();

// As Tiles::multiply.
void multiply(const Piece& piece, int32_t* sums);

// As Tiles::dot.
void dot(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, size_t count, int32_t* dots);

}  // namespace rrwkv::amx
