#include "kernels/lanes/blockwise_float.h"
#include "kernels/lanes/blockwise_tile.h"
#include "kernels/lanes/float_columns.h"
#include "kernels/lanes/floats.h"
#include "kernels/lanes/int8_per_channel.h"
#include "kernels/lanes/rows.h"
#include "kernels/lanes/rwkv6.h"
#include "kernels/lanes/rwkv7.h"
#include "kernels/scalar/products.h"
#include "kernels/scalar/scalar.h"
#include "kernels/scalar/vectors.h"

namespace rrwkv::scalar {
namespace {

using Int8 = lanes::Int8Rows<Floats, Ints, 0>;
using Block = lanes::Blockwise<Floats, BlockLanes>;
using BlockFloats = lanes::BlockwiseFloats<Floats, BlockLanes>;

void unpack(const BlockwiseWeights& w, size_t output, uint8_t* bytes, float* scales) {
  lanes::unpack_bytes(w, output, bytes);
  for (size_t b = 0; b < w.blocks; ++b) lanes::scales_of(w, output, b, scales + kSide * b);
}

void multiply_tile(const BlockwiseTile& w, const BlockwiseRows& x, const TileKernels&, const Target& to) {
  lanes::multiply_tile<Floats>(w, x, 1, dot_block, to);
}

}  // namespace

constexpr Kernels kTable = {
    "scalar",
    lanes::Rows<Floats>::kTable,
    lanes::FloatProducts<Floats, 1, 1>::kTable,
    {Int8::ends, Int8::quantize, Int8::column_sums, lanes::accumulate<Fours>, Int8::scale, 1, Int8::quantize, pack,
     Int8::scale_panel},
    {begin, end, multiply, nullptr},
    {Block::quantize, lanes::one_byte, lanes::quantize_row_of_bytes<Floats>, Block::multiply, unpack, multiply_tile},
    BlockFloats::kTable,
    lanes::kFloat16<Floats, 1>,
    lanes::kFloat32<Floats, 1>,
    lanes::RWKV6<Floats>::kTable,
    lanes::RWKV7<Floats>::kTable,
};

}  // namespace rrwkv::scalar
