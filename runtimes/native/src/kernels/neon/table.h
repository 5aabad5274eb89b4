// The table of NEON's kernels; included once with i8mm, and once without.
#include "kernels/lanes/blockwise_float.h"
#include "kernels/lanes/float_columns.h"
#include "kernels/lanes/floats.h"
#include "kernels/lanes/int8_per_channel.h"
#include "kernels/lanes/rows.h"
#include "kernels/lanes/rwkv6.h"
#include "kernels/lanes/rwkv7.h"
#include "kernels/neon/neon.h"
#include "kernels/neon/pack.h"

namespace rrwkv::neon::RRWKV_DOTS {
namespace {

using Int8 = lanes::Int8Rows<Floats, Ints, 128>;
using Block = lanes::Blockwise<Floats, BlockLanes>;

void multiply_tile(const BlockwiseTile& w, const BlockwiseRows& x, const TileKernels&, const Target& to) {
  lanes::multiply_tile<Floats>(w, x, 1, w.bits == 8 ? dot_block<true> : dot_block<false>, to);
}

}  // namespace

constexpr Kernels kTable = {
    RRWKV_NAME,
    lanes::Rows<Floats>::kTable,
    lanes::FloatProducts<Floats, 6, 1>::kTable,
    {Int8::ends, Int8::quantize, Int8::column_sums, lanes::accumulate<Fours>, Int8::scale, 1, Int8::quantize, pack,
     Int8::scale_panel},
    {begin, end, multiply, nullptr},
    {Block::quantize, lanes::one_byte, lanes::quantize_row_of_bytes<Floats>, Block::multiply, unpack, multiply_tile},
    lanes::BlockwiseFloats<Floats, BlockLanes>::kTable,
    lanes::kFloat16<Floats, 4>,
    lanes::kFloat32<Floats, 4>,
    lanes::RWKV6<Floats>::kTable,
    lanes::RWKV7<Floats>::kTable,
};

}  // namespace rrwkv::neon::RRWKV_DOTS
