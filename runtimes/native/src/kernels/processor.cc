#include "kernels/processor.h"

#if defined(RRWKV_NATIVE_X86)

#include <cpuid.h>

// Asked by hand: what stands behind __builtin_cpu_supports is not in every compiler's library.
namespace rrwkv {
namespace {

constexpr unsigned bit(int i) { return 1u << i; }

struct Features {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Features features(unsigned leaf, unsigned part) {
  Features f;
  __get_cpuid_count(leaf, part, &f.a, &f.b, &f.c, &f.d);
  return f;
}

// The registers that the system saves, as the processor counts them.
unsigned saved() {
  constexpr unsigned kAsks = bit(27);
  if (!(features(1, 0).c & kAsks)) return 0;
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool all(unsigned of, unsigned wanted) { return (of & wanted) == wanted; }

}  // namespace

bool has_avx2() {
  constexpr unsigned kSaved = bit(1) | bit(2), kFma = bit(12), kAvx = bit(28), kF16c = bit(29), kAvx2 = bit(5);
  return all(saved(), kSaved) && all(features(1, 0).c, kFma | kAvx | kF16c) && all(features(7, 0).b, kAvx2);
}

#if defined(RRWKV_NATIVE_EMULATED)
bool has_avx_vnni() { return has_avx2(); }
bool has_avx512_vnni() { return has_avx2(); }
#else
bool has_avx_vnni() {
  constexpr unsigned kAvxVnni = bit(4);
  return has_avx2() && all(features(7, 1).a, kAvxVnni);
}

bool has_avx512_vnni() {
  constexpr unsigned kSaved = bit(5) | bit(6) | bit(7), kF = bit(16), kDQ = bit(17), kBW = bit(30), kVL = bit(31);
  constexpr unsigned kVnni = bit(11);
  return has_avx2() && all(saved(), kSaved) && all(features(7, 0).b, kF | kDQ | kBW | kVL) &&
         all(features(7, 0).c, kVnni);
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
