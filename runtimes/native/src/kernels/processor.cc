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

#elif defined(RRWKV_NATIVE_ARM64) && defined(__linux__)

#include <asm/hwcap.h>
#include <sys/auxv.h>

namespace rrwkv {

bool has_dot_products() { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }
bool has_i8mm() { return has_dot_products() && (getauxval(AT_HWCAP2) & HWCAP2_I8MM); }

}  // namespace rrwkv

#elif defined(RRWKV_NATIVE_ARM64) && defined(__APPLE__)

#include <sys/sysctl.h>

namespace rrwkv {
namespace {

bool has(const char* feature) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
}

}  // namespace

bool has_dot_products() { return has("hw.optional.arm.FEAT_DotProd"); }
bool has_i8mm() { return has_dot_products() && has("hw.optional.arm.FEAT_I8MM"); }

}  // namespace rrwkv

#elif defined(RRWKV_NATIVE_ARM64)

namespace rrwkv {

bool has_dot_products() { return false; }
bool has_i8mm() { return false; }

}  // namespace rrwkv

#endif
