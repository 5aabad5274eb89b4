// Kernels of AVX2 with FMA and F16C, with the dot products of AVX-VNNI and without.
#pragma once

#include "kernels/kernels.h"

namespace rrwkv::avx2 {

namespace plain {
extern const Kernels kTable;
}
namespace vnni {
extern const Kernels kTable;
}

}  // namespace rrwkv::avx2
