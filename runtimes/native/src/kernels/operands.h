// What kernels are given: weights as a graph holds them, read in place, and activations as they are multiplied.
#pragma once

#include <cstddef>
#include <cstdint>

#include "exec/span.h"

namespace rrwkv {

constexpr size_t kLine = 16;        // floats in a line of memory: spans of a row begin on one
constexpr size_t kPacked = 64;      // columns of int8 weights that are packed at once: a line of memory
constexpr size_t kPanel = 32;       // columns of int8 weights that are multiplied at once
constexpr size_t kDepth = 64;       // of rows of int8 weights: a multiple of this, with zeros to the end
constexpr size_t kBlock = 32;       // rows of uint8 activations at a time
constexpr size_t kSide = 16;        // of a tile: so many rows, and so many columns of whole numbers
constexpr size_t kFloatRows = 12;   // rows of float activations at a time
constexpr size_t kFloatPanel = 32;  // columns of weights that are made floats and multiplied at once

// The least and the largest of some values and 0.
struct Ends {
  float low = 0, high = 0;
};

// For each of k, v, r, or k, r, what of a token, of the one before and of what is recalled goes into it, all [C].
struct Mix {
  const float *now, *before, *recalled;
};

// The recurrence of time-mix in both forms that a graph holds it in. plain: bonus exp(u), decay exp(-d), exponentials
// of keys clipped. stable: u and d themselves.
struct Wkv {
  size_t channels;
  bool stable;
  float least_exp, most_exp;
  const float *bonus, *decay;  // [C]
};

// A and B [2, C]; in the stable form aa and bb, and pp [C], with A = aa exp(pp), B = bb exp(pp).
struct WkvState {
  const float *sums, *exponent;
};
struct NewWkvState {
  float *sums, *exponent;
};

// RWKV-7's learned keys of a head [N]: κ = k ⊙ k_k over its length, at least `shortest`; k ⊙ (k_a_rest + a ⊙ k_a).
struct KeyWeights {
  const float *k_k, *k_a, *k_a_rest;
  float shortest;
};

// One token of a head of RWKV-7, all [N]: rewritten is -κ ⊙ a.
struct DeltaToken {
  const float *r, *w, *k, *v, *kappa, *rewritten;
};

// GroupNorm of a head [N].
struct GroupNorm {
  const float *gain, *bias;
  float epsilon;

  GroupNorm from(size_t channel) const { return {gain + channel, bias + channel, epsilon}; }
};

// What a head of RWKV-7 gives: after the norm, the bonus r_k [N].
struct HeadOutput {
  GroupNorm norm;
  const float* r_k;
};

// One token of a head of RWKV-5 or 6, all [N]: w its decay, u the bonus.
struct DecayToken {
  const float *r, *w, *k, *v, *u;
};

// How sums of uint8 times int8 [K, columns] become floats: (sum - zero · the column's sum) · x_scale · scale.
struct Int8Scaling {
  float x_scale;
  int zero;
  const int32_t* column_sums;
  const float* scale;
};

// A piece of a product in whole numbers, of values of one or two bytes as Int8Kernels says. x [32, depth], which must
// be there to its end, though only some rows count; of a packed panel. from, to: rows of weights, multiples of 64.
struct Piece {
  const uint8_t* x;
  const uint8_t* packed;
  size_t rows, depth, from, to;
};

// MatMulNBits' uint8 [outputs, blocks, block / (8 / bits)] with a scale for each block and zero in the middle.
struct BlockwiseWeights {
  BlockwiseWeights(const uint8_t* weight, const float* scale, size_t inputs, size_t outputs, size_t block, size_t bits)
      : weight(weight),
        scale(scale),
        inputs(inputs),
        outputs(outputs),
        block(block),
        bits(bits),
        blocks((inputs + block - 1) / block),
        row_bytes(blocks * block * bits / 8),
        vectors((row_bytes + 63) / 64) {}

  // Of a row of activations in int8: as many as 64 bytes of weights, some times over.
  size_t activation_bytes() const { return vectors * 512 / bits; }

  const uint8_t* weight;
  const float* scale;
  size_t inputs, outputs, block, bits, blocks, row_bytes, vectors;
};

// One row of activations in int8. scales: of every four bytes of a row of weights. zeros: of each block the scale times
// what the weights' zero adds.
struct BlockwiseRow {
  const uint8_t* bytes;
  const float *scales, *zeros;
};

// 16 rows of them, `stride` bytes apart; scales and zeros [16, blocks], of each block.
struct BlockwiseRows {
  const uint8_t* bytes;
  const float *scales, *zeros;
  size_t stride;
};

// Weights of 16 outputs as a table of kernels has them; scales [blocks, 16].
struct BlockwiseTile {
  const uint8_t* bytes;
  const float* scales;
  size_t block, blocks, bits;
};

// float16 (as its bits) or float32 [inputs, outputs].
template <typename Value>
struct FloatWeights {
  const Value* weight;
  size_t inputs, outputs;
};

// Where products go: of so many rows and columns, rows `stride` values apart.
struct Target {
  float* y;
  size_t rows, columns, stride;
};

}  // namespace rrwkv
