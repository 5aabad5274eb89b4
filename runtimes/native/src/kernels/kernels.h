// The contract between the model and a processor's instructions: a table of functions, one table for each set of them.
// The model is compiled for any processor, and calls these for a row, a span of a row or a part of a matrix.
//
// Sums and exponentials are those of onnxruntime's own kernels, to the bit, wherever a comment says so: a token run by
// these kernels and the same token in a longer run by onnxruntime give the same logits. Products of whole numbers are
// exact, so that they are the same in any order.
#pragma once

#include <string>
#include <vector>

#include "exec/memory_range.h"
#include "kernels/operands.h"

namespace rrwkv {

// Single rows of n values.
struct RowKernels {
  // LayerNorm, in onnxruntime's order.
  void (*normalize)(const float* x, const float* gain, const float* bias, float epsilon, size_t n, float* y);
  // y = (now ⊙ of.now + before ⊙ of.before) + recalled ⊙ of.recalled, without the last where it is null.
  void (*mix)(const Mix& x, const Mix& of, size_t n, float* y);
  // y += x
  void (*add)(const float* x, size_t n, float* y);
  // y += by x
  void (*add_scaled)(float by, const float* x, size_t n, float* y);
  // x = relu(x)²
  void (*square_relu)(size_t n, float* x);
  // y = σ(r) ⊙ v
  void (*gate)(const float* r, const float* v, size_t n, float* y);
  // y = x + σ(r) ⊙ v; y may be x.
  void (*add_gated)(const float* x, const float* r, const float* v, size_t n, float* y);
  // x = tanh(x)
  void (*tanh)(size_t n, float* x);
  // x = σ(x)
  void (*sigmoid)(size_t n, float* x);
  // x = exp(x) of x within least .. most
  void (*exponentials)(float least, float most, size_t n, float* x);
  // One token of wkv, for some channels, in the graph's order: gated = σ(r) ⊙ wkv [C], which may be r.
  void (*wkv)(const Wkv& w, const float* k, const float* v, const float* r, WkvState state, Span channels, float* gated,
              NewWkvState next);
};

// Floats times floats, fused.
struct FloatKernels {
  // y [n] = Σ_k x[k] rows[k], of rows `stride` values apart: 128 at a time, k after k, as onnxruntime sums them.
  void (*sum_rows)(const float* x, const float* rows, size_t count, size_t stride, size_t n, float* y);
  // y [count] = rows [count, n] times x, `stride` values after as many.
  void (*multiply_rows)(const float* x, const float* rows, size_t count, size_t n, size_t stride, float* y);
  // Some of twelve rows x [.., inputs] beside each other: [inputs, 12], with zeros to the end.
  void (*pack)(const float* x, size_t rows, size_t inputs, float* packed);
  // Twelve packed rows times two panels [inputs, 16], `apart` values from each other; every sum in the order of the
  // inputs.
  void (*multiply_panel)(const float* packed, size_t inputs, const float* panel, size_t apart, const Target& to);
};

// uint8 activations times int8 weights [K, columns], rows `stride` apart. How activations are written is the table's
// own affair.
struct Int8Kernels {
  Ends (*ends)(const float* x, size_t n);
  // round(x / scale) + zero, within 0 .. 255.
  void (*quantize)(const float* x, float scale, int zero, size_t n, uint8_t* y);
  // sums += the columns'
  void (*column_sums)(const int8_t* weight, size_t rows, size_t columns, int32_t* sums);
  // sums [columns] of one row. after: what is read next, to be fetched at the end.
  void (*accumulate)(const int8_t* weight, size_t stride, size_t rows, size_t columns, const uint8_t* x,
                     const MemoryRange& after, int32_t* sums);
  // y [n] of one row, of the sums and of `others` more, `stride` apart.
  void (*scale)(const Int8Scaling& by, const int32_t* sums, size_t others, size_t stride, size_t n, float* y);
  // Bytes of a value, activation or weight, in products of many rows; and a row of activations as these take it.
  size_t value_bytes;
  void (*quantize_row)(const float* x, float scale, int zero, size_t n, uint8_t* y);
  // Some rows (from and to a multiple of four) in the order of products, [columns / 16, depth, 16 columns] of values,
  // groups of rows beside each other as the table multiplies them; to a multiple of 64 columns. sums: the columns' of
  // these rows.
  void (*pack)(const int8_t* weight, size_t stride, size_t K, Span rows, size_t columns, uint8_t* packed,
               int32_t* sums);
  // Of sums [rows, 32].
  void (*scale_panel)(const Int8Scaling& by, const int32_t* sums, const Target& to);
};

// Whole numbers of many rows.
struct TileKernels {
  // Around all of a thread's. depth: how many values a dot is of; 64 for `multiply`.
  void (*begin)(size_t depth);
  void (*end)();
  // Adds to sums [32, 32]; or makes them, if the piece is the first.
  void (*multiply)(const Piece& piece, int32_t* sums);
  // dots [count, 16, 16] of rows of int8 [16, count, depth], a stride apart, and uint8 weights [count, depth / 4, 16,
  // 4]. Null where `multiply_tile` needs none.
  void (*dot)(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, size_t count, int32_t* dots);
};

// int8 activations, of a scale for each block, times blockwise weights.
struct BlockwiseKernels {
  // One row, in the order of `multiply`: bytes, the scales of blocks and those of lanes, and zeros.
  void (*quantize)(const BlockwiseWeights& w, const float* x, uint8_t* bytes, float* scales, float* lane_scales,
                   float* zeros);
  // Bytes of a value, activation or weight, in products of many rows.
  size_t (*value_bytes)(size_t bits);
  // A row of many, in the order of `multiply_tile`.
  void (*quantize_row)(const BlockwiseWeights& w, const float* x, uint8_t* bytes, float* scales, float* zeros);
  // Some outputs of y. after: as above.
  void (*multiply)(const BlockwiseWeights& w, const BlockwiseRow& x, Span outputs, const MemoryRange& after, float* y);
  // 16 outputs as a tile has them; at the end fewer: the others are the last again, and not used.
  void (*unpack)(const BlockwiseWeights& w, size_t output, uint8_t* bytes, float* scales);
  // 16 rows times 16 outputs, of which those count that the target has.
  void (*multiply_tile)(const BlockwiseTile& w, const BlockwiseRows& x, const TileKernels& tiles, const Target& to);
};

// Activations as they are, with zeros to the end of the last block, times blockwise weights of 8 bits.
struct BlockwiseFloatKernels {
  // What the weights' zero adds to each block.
  void (*zeros)(const BlockwiseWeights& w, const float* x, float* zeros);
  void (*multiply)(const BlockwiseWeights& w, const float* x, const float* zeros, Span outputs,
                   const MemoryRange& after, float* y);
  // 16 outputs as floats [K, 16]; at the end fewer: the others are the last again, and not used.
  void (*unpack)(const BlockwiseWeights& w, size_t output, float* weights);
};

// Weights that are floats once they are read: of 16 bits, or of 32.
template <typename Value>
struct FloatColumnKernels {
  // Some outputs of y, each summed in the order of its inputs. after: what is read next, to be fetched at the end.
  void (*multiply)(const FloatWeights<Value>& w, const float* x, Span outputs, const MemoryRange& after, float* y);
  // 32 outputs as floats, two panels [inputs, 16]; zeros where there are fewer.
  void (*unpack)(const FloatWeights<Value>& w, size_t output, float* left, float* right);
};

// Time-mix over n values of a token, or one head's. Sums of a head are made in sixteen lanes, of which the i-th takes
// the values i, i + 16, …, and which are then added up by halves.

// RWKV-5's and RWKV-6's.
struct RWKV6Kernels {
  // x += d ⊙ m
  void (*move)(const float* d, const float* m, size_t n, float* x);
  // w = exp(-exp(w0 + w))
  void (*decay)(const float* w0, size_t n, float* w);
  // Of a head, S [n, n], i of the key, j of the value: y_j = Σ_i r_i S_ij + (Σ_i r_i u_i k_i) v_j, the first sum in the
  // order of i, and next_ij = S_ij w_i + k_i v_j. next may be S.
  void (*recurrence)(const DecayToken& x, size_t n, const float* S, float* next, float* y);
  // Of a head: o = GN(y) ⊙ SiLU(g), or GN(y) where g is null. o may be g. y is lost.
  void (*give)(const GroupNorm& of, float* y, const float* g, size_t n, float* o);
};

// RWKV-7's.
struct RWKV7Kernels {
  // x = σ(z0 + x)
  void (*rate)(const float* z0, size_t n, float* x);
  // w = exp(scale σ(w0 + w))
  void (*decay)(const float* w0, float scale, size_t n, float* w);
  // v += (first - v) ⊙ σ(v0 + x)
  void (*blend)(const float* first, const float* v0, const float* x, size_t n, float* v);
  // Of a head: κ, -κ ⊙ a, and k as it is learned.
  void (*keys)(const KeyWeights& w, const float* a, size_t n, float* k, float* kappa, float* rewritten);
  // Of a head, S [n, n], i of the value, j of the key: next_ij = S_ij w_j + (Σ_j S_ij κ_j) rewritten_j + v_i k_j, and
  // y_i = Σ_j next_ij r_j. next may be S.
  void (*delta_rule)(const DeltaToken& x, size_t n, const float* S, float* next, float* y);
  // Of a head: o = (GN(y) + (Σ_j r_j k_j r_k[j]) v) ⊙ g, which may be r or g. y is lost.
  void (*give)(const HeadOutput& of, const DeltaToken& x, float* y, const float* g, size_t n, float* o);
};

// Of each set of instructions a constant: what is computed when the library is loaded is computed on any processor.
struct Kernels {
  const char* name;
  RowKernels rows;
  FloatKernels floats;
  Int8Kernels int8;
  TileKernels tiles;
  BlockwiseKernels blockwise;
  BlockwiseFloatKernels blockwise_float;
  FloatColumnKernels<uint16_t> float16;
  FloatColumnKernels<float> float32;
  RWKV6Kernels rwkv6;
  RWKV7Kernels rwkv7;
};

// The tables that this processor can run, the best one first; the last is `scalar`, which any can. A module of
// WebAssembly that is to be small has the other alone.
const std::vector<const Kernels*>& tables_here();

// The best one, or the one of this name. Raises std::runtime_error if there is none that runs here.
const Kernels& kernels_here(const std::string& name = "");

}  // namespace rrwkv
