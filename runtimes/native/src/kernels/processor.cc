#include "kernels/processor.h"

#if defined(RRWKV_NATIVE_X86)

#include <cpuid.h>

namespace rrwkv {

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

#if defined(RRWKV_NATIVE_EMULATED)
bool has_avx_vnni() { return has_avx2(); }
bool has_avx512_vnni() { return has_avx2(); }
#else
bool has_avx_vnni() {
  constexpr unsigned kAvxVnni = 1u << 4;
  unsigned a, b, c, d;
  return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kAvxVnni);
}

bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
}
#endif

}  // namespace rrwkv

#endif
