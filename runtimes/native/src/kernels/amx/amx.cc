#include "kernels/amx/amx.h"

#if defined(__AMX_INT8__) && defined(__linux__)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrwkv::amx {
namespace {

// Tiles 0 to 3 are sums, 4 and 5 rows of activations, 6 and 7 groups of four rows of weights.
struct alignas(64) Config {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

bool processor_has_it() {
  constexpr unsigned kTiles = 1u << 24, kInt8 = 1u << 25;
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kTiles) && (d & kInt8);
}

void begin(size_t depth) {
  Config config;
  depth = depth < kDepth ? depth : kDepth;
  config.row_bytes[4] = config.row_bytes[5] = static_cast<uint16_t>(depth);
  config.rows[6] = config.rows[7] = static_cast<uint8_t>(depth / 4);
  __asm__ volatile("" : : "r"(&config) : "memory");  // all of it: the compiler takes the next line to read eight bytes
  _tile_loadconfig(&config);
}

void end() { _tile_release(); }

void multiply(const Piece& p, int32_t* sums) {
  constexpr size_t kStride = kPanel * sizeof(int32_t);
  const bool two = p.rows > kSide;
  int32_t* below = sums + kSide * kPanel;
  if (p.from) {
    _tile_loadd(0, sums, kStride);
    _tile_loadd(1, sums + kSide, kStride);
    if (two) {
      _tile_loadd(2, below, kStride);
      _tile_loadd(3, below + kSide, kStride);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (size_t k = p.from; k < p.to; k += kDepth) {
    _tile_loadd(4, p.x + k, p.depth);
    _tile_loadd(6, p.packed + 16 * k, 64);
    _tile_loadd(7, p.packed + 16 * (p.depth + k), 64);
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    if (!two) continue;
    _tile_loadd(5, p.x + kSide * p.depth + k, p.depth);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_stored(0, sums, kStride);
  _tile_stored(1, sums + kSide, kStride);
  if (!two) return;
  _tile_stored(2, below, kStride);
  _tile_stored(3, below + kSide, kStride);
}

// The i-th dot. A macro, for tiles are named in the instructions' own text.
#define RRWKV_DOT(i, sums, rows, groups)                           \
  _tile_zero(sums);                                                \
  for (size_t k = (i) * depth; k < ((i) + 1) * depth; k += step) { \
    _tile_loadd(rows, x + k, stride);                              \
    _tile_loadd(groups, weights + kSide * k, 64);                  \
    _tile_dpbsud(sums, rows, groups);                              \
  }                                                                \
  _tile_stored(sums, dots + (i) * kSide * kSide, kSide * sizeof(int32_t))

void dot(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, size_t count, int32_t* dots) {
  const size_t step = depth < kDepth ? depth : kDepth;
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {  // by other tiles each, that none need wait for another
    RRWKV_DOT(i, 0, 4, 6);
    RRWKV_DOT(i + 1, 1, 5, 7);
    RRWKV_DOT(i + 2, 2, 4, 6);
    RRWKV_DOT(i + 3, 3, 5, 7);
  }
  for (; i < count; ++i) {
    RRWKV_DOT(i, 0, 4, 6);
  }
}

#undef RRWKV_DOT

}  // namespace

bool allowed() {
  constexpr long kAskForPermission = 0x1023, kTileData = 18;
  return processor_has_it() && syscall(SYS_arch_prctl, kAskForPermission, kTileData) == 0;
}

const TileKernels kTileKernels = {begin, end, multiply, dot};

}  // namespace rrwkv::amx

#else

namespace rrwkv::amx {

bool allowed() { return false; }
const TileKernels kTileKernels = {};

}  // namespace rrwkv::amx

#endif
