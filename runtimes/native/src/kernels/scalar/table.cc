#include "kernels/lanes/blockwise_float.h"
#include "kernels/lanes/blockwise_tile.h"
#include "kernels/lanes/float_columns.h"
#include "kernels/lanes/floats.h"
#include "kernels/lanes/int8_per_channel.h"
#include "kernels/lanes/rows.h"
#include "kernels/lanes/rwkv7.h"
#include "kernels/scalar/products.h"
#include "kernels/scalar/scalar.h"
#include "kernels/scalar/vectors.h"

namespace rrwkv::scalar {
namespace {

using Int8 = lanes::Int8Rows<Floats, Ints, 0>;
using Block = lanes::Blockwise<Floats, BlockLanes>;
using BlockFloats = lanes::BlockwiseFloats<Floats, BlockLanes>;

struct Halves {
  using Type = uint16_t;
  static Floats load(const uint16_t* from, size_t left = kLanes) { return Floats::of_halves(from, left); }
  static void fetch(const void*) {}
};
struct Singles {
  using Type = float;
  static Floats load(const float* from, size_t left = kLanes) { return Floats::load(from, left); }
  static void fetch(const void*) {}
};

void quantize_row(const BlockwiseWeights& w, const float* x, uint8_t* bytes, float* scales, float* zeros) {
  lanes::quantize_blocks<Floats>(w, x, bytes, scales, zeros);
  if (w.bits == 4) lanes::part_runs(bytes, w.activation_bytes(), std::min(w.block, lanes::kRun));
}

void unpack(const BlockwiseWeights& w, size_t output, uint8_t* bytes, float* scales) {
  lanes::unpack_bytes(w, output, bytes);
  for (size_t b = 0; b < w.blocks; ++b) lanes::scales_of(w, output, b, scales + kSide * b);
}

void multiply_tile(const BlockwiseTile& w, const BlockwiseRows& x, const TileKernels&, const Target& to) {
  lanes::multiply_tile<Floats>(w, x, 1, dot_block, to);
}

size_t one_byte(size_t) { return 1; }

}  // namespace

const Kernels kTable = {
    "scalar",
    lanes::Rows<Floats>::kTable,
    lanes::FloatProducts<Floats, 1, 1>::kTable,
    {Int8::ends, Int8::quantize, Int8::column_sums, lanes::accumulate<Fours>, Int8::scale, 1, Int8::quantize, pack,
     Int8::scale_panel},
    {begin, end, multiply, dot},
    {Block::quantize, one_byte, quantize_row, Block::multiply, unpack, multiply_tile},
    BlockFloats::kTable,
    lanes::FloatColumns<Floats, Halves, 1>::kTable,
    lanes::FloatColumns<Floats, Singles, 1>::kTable,
    lanes::RWKV7<Floats>::kTable,
};

}  // namespace rrwkv::scalar
