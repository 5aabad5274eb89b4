// MatMulNBits for many rows at once: what a prompt multiplies with, in whole numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "threads.h"

namespace rrwkv {

// uint8 [N, blocks, block / (8 / bits)], zero in the middle; scale [N, blocks].
struct BlockMatrix {
  const uint8_t* weight;
  const float* scale;
  size_t inputs, outputs, block, bits;
};

// y [T, N] = x [T, K] W.
void multiply(const BlockMatrix& w, const float* x, size_t tokens, float* y, const Threads& threads);

}  // namespace rrwkv
