#include "kernels/kernels.h"

#include "kernels/amx/amx.h"
#include "kernels/avx512/avx512.h"
#include "kernels/scalar/scalar.h"

namespace rrwkv {
namespace {

Kernels table_of(const TileKernels& tiles) {
  return {avx512::kRowKernels,       avx512::kFloatKernels,          avx512::kInt8Kernels,    tiles,
          avx512::kBlockwiseKernels, avx512::kBlockwiseFloatKernels, avx512::kFloat16Kernels, scalar::kRWKV7Kernels};
}

}  // namespace

bool run_here() {
#if defined(RRWKV_NATIVE_EMULATED)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
#endif
}

const Kernels& kernels_here(bool matrix_unit) {
  static const Kernels avx512 = table_of(avx512::kTileKernels);
  static const Kernels amx = table_of(amx::kTileKernels);
  static const bool has_amx = amx::allowed();
  return matrix_unit && has_amx ? amx : avx512;
}

}  // namespace rrwkv
