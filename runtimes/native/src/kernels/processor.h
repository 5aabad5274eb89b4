// What the processor says of itself, and the system lets a program use.
#pragma once

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(RRWKV_NATIVE_SCALAR)
#define RRWKV_NATIVE_X86
#elif defined(__aarch64__) && !defined(RRWKV_NATIVE_SCALAR)
#define RRWKV_NATIVE_ARM64
#elif defined(__wasm_simd128__) && !defined(RRWKV_NATIVE_SCALAR)
#define RRWKV_NATIVE_WASM
#endif

namespace rrwkv {

#if defined(RRWKV_NATIVE_X86)
bool has_avx2();  // with FMA and F16C
bool has_avx_vnni();
bool has_avx512_vnni();
#elif defined(RRWKV_NATIVE_ARM64)
bool has_dot_products();
bool has_i8mm();
#endif

}  // namespace rrwkv
