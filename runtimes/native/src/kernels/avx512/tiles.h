// Whole numbers of many rows times 32 columns of weights: by the processor's matrix unit (AMX) where it has one, else
// by VNNI. The sums are exact, so it is all the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include "exec/threads.h"

namespace rrwkv {

constexpr size_t kPacked = 64;  // columns of weights that are packed at once: a line of memory
constexpr size_t kPanel = 32;   // columns of weights that are multiplied at once
constexpr size_t kDepth = 64;   // of rows of weights: a multiple of this, with zeros to the end
constexpr size_t kBlock = 32;   // rows of activations at a time
constexpr size_t kSide = 16;    // of a tile: so many rows, and so many columns of whole numbers

inline size_t padded(size_t n, size_t to) { return (n + to - 1) / to * to; }

// Of int8 weights [K, columns], rows a stride apart, some rows (from and to a multiple of four) in the order of
// products: packed [columns / 16, depth / 4, 16 columns, 4 rows], and to a multiple of 64 columns. sums: the columns'
// of these rows.
void pack(const int8_t* weight, size_t stride, size_t K, Span rows, size_t columns, int8_t* packed, int32_t* sums);

// A piece of a product. x [32, depth], which must be there to its end, though only some rows count; of a packed panel.
// from, to: rows of weights, multiples of 64.
struct Piece {
  const uint8_t* x;
  const int8_t* packed;
  size_t rows, depth, from, to;
};

// Whether there is a matrix unit that this process may use.
bool has_amx();

// Makes the matrix unit, if it is to be used, ready for this thread, as long as it lives.
class Tiles {
 public:
  // depth: how many values a dot is of.
  explicit Tiles(bool amx, size_t depth = kDepth);
  ~Tiles();
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  // Adds to sums [32, 32]; or makes them, if the piece is the first.
  void multiply(const Piece& piece, int32_t* sums) const;
  // dots [count, 16, 16] of rows of int8 [16, count, depth], a stride apart, and uint8 weights [count, depth / 4, 16,
  // 4].
  void dot(const uint8_t* x, size_t stride, const uint8_t* weights, size_t depth, size_t count, int32_t* dots) const;

 private:
  bool amx_;
};

}  // namespace rrwkv
