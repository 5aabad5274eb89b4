// Kernels of AVX-512 with VNNI; products of many rows also by the matrix unit.
#pragma once

#include "kernels/kernels.h"

namespace rrwkv::avx512 {

extern const Kernels kTable;

extern const TileKernels kTileKernels;
// Of BlockwiseKernels, for many rows.
void unpack(const BlockwiseWeights& w, size_t output, uint8_t* bytes, float* scales);
void multiply_tile(const BlockwiseTile& w, const BlockwiseRows& x, const TileKernels& tiles, const Target& to);
// Of Int8Kernels.
void pack(const int8_t* weight, size_t stride, size_t K, Span rows, size_t columns, uint8_t* packed, int32_t* sums);

}  // namespace rrwkv::avx512
