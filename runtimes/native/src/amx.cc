#include "amx.h"

#if defined(__AMX_INT8__) && defined(__linux__)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrwkv::amx {
namespace {

constexpr size_t kTile = 16;  // rows of a tile, each of 64 bytes

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

}  // namespace

bool allowed() {
  constexpr long kAskForPermission = 0x1023, kTileData = 18;
  return processor_has_it() && syscall(SYS_arch_prctl, kAskForPermission, kTileData) == 0;
}

void begin() {
  static constexpr Config config;  // all of it in memory: the compiler takes this to read eight bytes
  _tile_loadconfig(&config);
}

void end() { _tile_release(); }

void multiply(const Piece& p, int32_t* sums) {
  constexpr size_t kStride = kPanel * sizeof(int32_t);
  const bool two = p.rows > kTile;
  int32_t* below = sums + kTile * kPanel;
  if (p.from) {
    _tile_loadd(0, sums, kStride);
    _tile_loadd(1, sums + kTile, kStride);
    if (two) {
      _tile_loadd(2, below, kStride);
      _tile_loadd(3, below + kTile, kStride);
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
    _tile_loadd(5, p.x + kTile * p.depth + k, p.depth);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_stored(0, sums, kStride);
  _tile_stored(1, sums + kTile, kStride);
  if (!two) return;
  _tile_stored(2, below, kStride);
  _tile_stored(3, below + kTile, kStride);
}

}  // namespace rrwkv::amx

#else

namespace rrwkv::amx {

bool allowed() { return false; }
void begin() {}
void end() {}
void multiply(const Piece&, int32_t*) {}

}  // namespace rrwkv::amx

#endif
