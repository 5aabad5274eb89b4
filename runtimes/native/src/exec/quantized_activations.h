// Activations as a matrix multiplies them.
#pragma once

#include <cstdint>

#include "exec/scratch.h"

namespace rrwkv {

// Quantized for one matrix.
struct QuantizedActivations {
  Scratch<uint8_t> bytes;  // unsigned for `Int8PerChannel`, signed for `BlockwiseInt8`
  float scale = 1;         // of `Int8PerChannel`
  int zero = 0;
  Scratch<int32_t> sums;    // of `Int8PerChannel`: of one row, a row for each part; of many, what columns sum up to
  Scratch<uint8_t> packed;  // of `Int8PerChannel` and many rows: weights
  Scratch<float> scales, zeros;  // of `BlockwiseInt8`: each block's scale (of one row: each lane's), and that times
                                 // what zero points add
  Scratch<float> values;  // of `BlockwiseFloat` and `Float16`: as they are, with zeros to the end; of `BlockwiseInt8`:
                          // each block's scale
};

}  // namespace rrwkv
