// The table of AVX2's kernels; included once with AVX-VNNI, and once without.
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/pack.h"
#include "kernels/avx2/tiles.h"
#include "kernels/lanes/blockwise_float.h"
#include "kernels/lanes/blockwise_tile.h"
#include "kernels/lanes/float_columns.h"
#include "kernels/lanes/floats.h"
#include "kernels/lanes/int8_per_channel.h"
#include "kernels/lanes/rows.h"
#include "kernels/lanes/rwkv6.h"
#include "kernels/lanes/rwkv7.h"

namespace rrwkv::avx2::RRWKV_DOTS {
namespace {

using Int8 = lanes::Int8Rows<Floats, Ints, 0>;
using Block = lanes::Blockwise<Floats, BlockLanes>;

#if defined(__AVXVNNI__)
constexpr auto quantize_int8_row = Int8::quantize;
constexpr auto scale_panel = Int8::scale_panel;
size_t value_bytes(size_t) { return 1; }
#else
constexpr auto quantize_int8_row = Int8::quantize_words;
constexpr auto scale_panel = Int8::scale_panel_of_words;
size_t value_bytes(size_t bits) { return bits == 8 ? 2 : 1; }
#endif

void quantize_row(const BlockwiseWeights& w, const float* x, uint8_t* bytes, float* scales, float* zeros) {
  lanes::quantize_row_of_bytes<Floats>(w, x, bytes, scales, zeros);
  if (value_bytes(w.bits) == 2) lanes::widen(bytes, w.activation_bytes());
}

void unpack(const BlockwiseWeights& w, size_t output, uint8_t* bytes, float* scales) {
  value_bytes(w.bits) == 1 ? lanes::unpack_bytes(w, output, bytes) : lanes::unpack_words(w, output, bytes);
  for (size_t b = 0; b < w.blocks; ++b) lanes::scales_of(w, output, b, scales + kSide * b);
}

void multiply_tile(const BlockwiseTile& w, const BlockwiseRows& x, const TileKernels&, const Target& to) {
#if !defined(__AVXVNNI__)
  if (w.bits == 4) return lanes::multiply_tile<Floats>(w, x, 1, dot_block4, to);
#endif
  const size_t bytes = value_bytes(w.bits);
  const auto dots = [bytes](const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, int32_t* dots) {
    dot_block(x, stride, weights, depth * bytes, dots);
  };
  lanes::multiply_tile<Floats>(w, x, bytes, dots, to);
}

}  // namespace

constexpr Kernels kTable = {
    RRWKV_NAME,
    lanes::Rows<Floats>::kTable,
    lanes::FloatProducts<Floats, 6, 1>::kTable,
    {Int8::ends, Int8::quantize, Int8::column_sums, lanes::accumulate<Fours>, Int8::scale, kValueBytes,
     quantize_int8_row, pack, scale_panel},
    {begin, end, multiply, nullptr},
    {Block::quantize, value_bytes, quantize_row, Block::multiply, unpack, multiply_tile},
    lanes::BlockwiseFloats<Floats, BlockLanes>::kTable,
    lanes::kFloat16<Floats, 4>,
    lanes::kFloat32<Floats, 4>,
    lanes::RWKV6<Floats>::kTable,
    lanes::RWKV7<Floats>::kTable,
};

}  // namespace rrwkv::avx2::RRWKV_DOTS
