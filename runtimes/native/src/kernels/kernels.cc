#include "kernels/kernels.h"

#include <stdexcept>

#include "kernels/processor.h"
#include "kernels/scalar/scalar.h"
#if defined(RRWKV_NATIVE_X86)
#include "kernels/amx/amx.h"
#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"
#elif defined(RRWKV_NATIVE_ARM64)
#include "kernels/neon/neon.h"
#elif defined(RRWKV_NATIVE_WASM)
#include "kernels/wasm/wasm.h"
#endif

namespace rrwkv {
namespace {

#if defined(RRWKV_NATIVE_X86)
#if defined(RRWKV_NATIVE_HAS_AMX)
// The same table, with products of many rows by the matrix unit.
const Kernels& with_amx() {
  static const Kernels table = [] {
    Kernels of = avx512::kTable;
    of.name = "avx512-amx";
    of.tiles = amx::kTileKernels;
    return of;
  }();
  return table;
}
#endif

// Those that the compiler knew how to make.
std::vector<const Kernels*> found() {
  std::vector<const Kernels*> tables;
#if defined(RRWKV_NATIVE_HAS_AVX512)
#if defined(RRWKV_NATIVE_HAS_AMX)
  if (has_avx512_vnni() && amx::allowed()) tables.push_back(&with_amx());
#endif
  if (has_avx512_vnni()) tables.push_back(&avx512::kTable);
#endif
#if defined(RRWKV_NATIVE_HAS_AVX_VNNI)
  if (has_avx_vnni()) tables.push_back(&avx2::vnni::kTable);
#endif
#if defined(RRWKV_NATIVE_HAS_AVX2)
  if (has_avx2()) tables.push_back(&avx2::plain::kTable);
#endif
  return tables;
}
#elif defined(RRWKV_NATIVE_ARM64)
std::vector<const Kernels*> found() {
  std::vector<const Kernels*> tables;
#if defined(RRWKV_NATIVE_HAS_I8MM)
  if (has_i8mm()) tables.push_back(&neon::i8mm::kTable);
#endif
#if defined(RRWKV_NATIVE_HAS_DOTPROD)
  if (has_dot_products()) tables.push_back(&neon::dotprod::kTable);
#endif
  return tables;
}
#elif defined(RRWKV_NATIVE_WASM)
std::vector<const Kernels*> found() { return {&wasm::kTable}; }
#else
std::vector<const Kernels*> found() { return {}; }
#endif

}  // namespace

const std::vector<const Kernels*>& tables_here() {
  static const std::vector<const Kernels*> tables = [] {
    std::vector<const Kernels*> all = found();
#if !defined(RRWKV_NATIVE_WITHOUT_SCALAR)
    all.push_back(&scalar::kTable);
#endif
    return all;
  }();
  return tables;
}

const Kernels& kernels_here(const std::string& name) {
  if (name.empty()) return *tables_here().front();
  std::string names;
  for (const Kernels* table : tables_here()) {
    if (name == table->name) return *table;
    names += std::string(names.empty() ? "" : ", ") + table->name;
  }
  throw std::runtime_error("this processor has no kernels '" + name + "'; it has: " + names);
}

}  // namespace rrwkv
