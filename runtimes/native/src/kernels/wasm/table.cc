#include "kernels/lanes/blockwise_float.h"
#include "kernels/lanes/blockwise_tile.h"
#include "kernels/lanes/float_columns.h"
#include "kernels/lanes/floats.h"
#include "kernels/lanes/int8_per_channel.h"
#include "kernels/lanes/rows.h"
#include "kernels/lanes/rwkv6.h"
#include "kernels/lanes/rwkv7.h"
#include "kernels/wasm/tiles.h"
#include "kernels/wasm/wasm.h"

namespace rrwkv::wasm {
namespace {

using Int8 = lanes::Int8Rows<Floats, Ints, 0>;
using Block = lanes::Blockwise<Floats, BlockLanes>;
using Rows = lanes::Rows<Floats>;
using Products = lanes::FloatProducts<Floats, 2, 1>;

size_t value_bytes(size_t) { return kValueBytes; }

void multiply_tile(const BlockwiseTile& w, const BlockwiseRows& x, const TileKernels&, const Target& to) {
  lanes::multiply_tile<Floats>(w, x, kValueBytes, dot_block, to);
}

// a b + c as the table's vectors make it: one number would go through the C library.
float fused(float a, float b, float c) {
  return wasm_f32x4_extract_lane(fma(wasm_f32x4_splat(a), wasm_f32x4_splat(b), wasm_f32x4_splat(c)), 0);
}

// See `lanes::Rows::normalize`: of eight lanes, the sums of squares as two vectors.
void normalize(const float* x, const float* gain, const float* bias, float epsilon, size_t n, float* y) {
  constexpr size_t kEight = 8;
  const size_t whole = n / kEight * kEight;
  double sums[kEight] = {};
  for (size_t i = 0; i < whole; i += kEight)
    for (size_t lane = 0; lane < kEight; ++lane) sums[lane] += x[i + lane];
  double sum = lanes::halved(sums, kEight);
  for (size_t i = whole; i < n; ++i) sum += x[i];
  const auto mean = static_cast<float>(sum / static_cast<double>(n));

  const v128_t means = wasm_f32x4_splat(mean);
  v128_t squares[2] = {wasm_f32x4_splat(0), wasm_f32x4_splat(0)};
  for (size_t i = 0; i < whole; i += kEight)
    for (size_t half = 0; half < 2; ++half) {
      const v128_t off = wasm_f32x4_sub(wasm_v128_load(x + i + 4 * half), means);
      squares[half] = fma(off, off, squares[half]);
    }
  float of_lanes[kEight];
  std::memcpy(of_lanes, squares, sizeof of_lanes);
  float variance = lanes::halved(of_lanes, kEight);
  for (size_t i = whole; i < n; ++i) variance = fused(x[i] - mean, x[i] - mean, variance);
  const Floats inverse = Floats::all(1.0f / std::sqrt(variance / static_cast<float>(n) + epsilon));
  lanes::each<Floats>(
      n, [&](auto at) { at.store(y, fma((at.load(x) - Floats::all(mean)) * inverse, at.load(gain), at.load(bias))); });
}

// Of one row the lanes' own goes through the C library.
void multiply_rows(const float* x, const float* rows, size_t count, size_t n, size_t stride, float* y) {
  if (count != 1) return Products::multiply_rows(x, rows, count, n, stride, y);
  *y = 0;
  for (size_t first = 0; first < n; first += stride) {
    float sum = 0;
    for (size_t i = first; i < std::min(first + stride, n); ++i) sum = fused(x[i], rows[i], sum);
    *y = first ? sum + *y : sum;
  }
}

#if defined(__wasm_relaxed_simd__)
constexpr const char* kName = "wasm-relaxed";
#else
constexpr const char* kName = "wasm";
#endif

}  // namespace

constexpr Kernels kTable = {
    kName,
    {normalize, Rows::mix, Rows::add, Rows::add_scaled, Rows::square_relu, Rows::gate, Rows::add_gated, Rows::tanh,
     Rows::sigmoid, Rows::exponentials, lanes::wkv_row<Floats>},
    {Products::sum_rows, multiply_rows, Products::pack, Products::multiply_panel},
    {Int8::ends, Int8::quantize, Int8::column_sums, lanes::accumulate<Fours>, Int8::scale, kValueBytes,
     Int8::quantize_words, pack, Int8::scale_panel_of_words},
    {begin, end, multiply, nullptr},
    {Block::quantize, value_bytes, quantize_row, Block::multiply, unpack, multiply_tile},
    lanes::BlockwiseFloats<Floats, BlockLanes>::kTable,
    lanes::kFloat16<Floats, 2>,
    lanes::kFloat32<Floats, 2>,
    lanes::RWKV6<Floats>::kTable,
    lanes::RWKV7<Floats>::kTable,
};

}  // namespace rrwkv::wasm
