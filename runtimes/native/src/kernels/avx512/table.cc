#include "kernels/avx512/avx512.h"
#include "kernels/avx512/products.h"
#include "kernels/lanes/blockwise_float.h"
#include "kernels/lanes/float_columns.h"
#include "kernels/lanes/floats.h"
#include "kernels/lanes/int8_per_channel.h"
#include "kernels/lanes/rows.h"
#include "kernels/lanes/rwkv7.h"

namespace rrwkv::avx512 {
namespace {

using Int8 = lanes::Int8Rows<Floats, Ints, 0>;
using Block = lanes::Blockwise<Floats, BlockLanes>;

struct Halves {
  using Type = uint16_t;
  static Floats load(const uint16_t* from) { return Floats::of_halves(from); }
  static Floats load(const uint16_t* from, size_t left) { return Floats::of_halves(from, left); }
  static void fetch(const void* address) { avx512::fetch(address); }
};
struct Singles {
  using Type = float;
  static Floats load(const float* from) { return Floats::load(from); }
  static Floats load(const float* from, size_t left) { return Floats::load(from, left); }
  static void fetch(const void* address) { avx512::fetch(address); }
};

size_t one_byte(size_t) { return 1; }

void quantize_row(const BlockwiseWeights& w, const float* x, uint8_t* bytes, float* scales, float* zeros) {
  lanes::quantize_blocks<Floats>(w, x, bytes, scales, zeros);
  if (w.bits == 4) lanes::part_runs(bytes, w.activation_bytes(), std::min(w.block, lanes::kRun));
}

}  // namespace

const Kernels kTable = {
    "avx512",
    lanes::Rows<Floats>::kTable,
    lanes::FloatProducts<Floats, 12, 2>::kTable,
    {Int8::ends, Int8::quantize, Int8::column_sums, lanes::accumulate<Fours>, Int8::scale, 1, Int8::quantize, pack,
     Int8::scale_panel},
    kTileKernels,
    {Block::quantize, one_byte, quantize_row, Block::multiply, unpack, multiply_tile},
    lanes::BlockwiseFloats<Floats, BlockLanes>::kTable,
    lanes::FloatColumns<Floats, Halves, 4>::kTable,
    lanes::FloatColumns<Floats, Singles, 4>::kTable,
    lanes::RWKV7<Floats>::kTable,
};

}  // namespace rrwkv::avx512
