#include "kernels/avx512/avx512.h"
#include "kernels/avx512/products.h"
#include "kernels/lanes/blockwise_float.h"
#include "kernels/lanes/float_columns.h"
#include "kernels/lanes/floats.h"
#include "kernels/lanes/int8_per_channel.h"
#include "kernels/lanes/rows.h"
#include "kernels/lanes/rwkv6.h"
#include "kernels/lanes/rwkv7.h"

namespace rrwkv::avx512 {
namespace {

using Int8 = lanes::Int8Rows<Floats, Ints, 0>;
using Block = lanes::Blockwise<Floats, BlockLanes>;

}  // namespace

constexpr Kernels kTable = {
    "avx512",
    lanes::Rows<Floats>::kTable,
    lanes::FloatProducts<Floats, 12, 2>::kTable,
    {Int8::ends, Int8::quantize, Int8::column_sums, lanes::accumulate<Fours>, Int8::scale, 1, Int8::quantize, pack,
     Int8::scale_panel},
    {begin, end, multiply, dot},
    {Block::quantize, lanes::one_byte, lanes::quantize_row_of_bytes<Floats>, Block::multiply, unpack, multiply_tile},
    lanes::BlockwiseFloats<Floats, BlockLanes>::kTable,
    lanes::kFloat16<Floats, 4>,
    lanes::kFloat32<Floats, 4>,
    lanes::RWKV6<Floats>::kTable,
    lanes::RWKV7<Floats>::kTable,
};

}  // namespace rrwkv::avx512
