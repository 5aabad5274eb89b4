// What the table of kernels takes of AVX-512 with VNNI.
#pragma once

#include "kernels/kernels.h"

namespace rrwkv::avx512 {

extern const RowKernels kRowKernels;
extern const FloatKernels kFloatKernels;
extern const Int8Kernels kInt8Kernels;
extern const TileKernels kTileKernels;
extern const BlockwiseKernels kBlockwiseKernels;
extern const BlockwiseFloatKernels kBlockwiseFloatKernels;
extern const Float16Kernels kFloat16Kernels;

// As RowKernels has it.
void wkv_row(const Wkv& w, const float* k, const float* v, const float* r, WkvState state, Span channels, float* gated,
             NewWkvState next);

}  // namespace rrwkv::avx512
