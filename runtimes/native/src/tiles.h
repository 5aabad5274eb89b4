// Whole numbers of many rows times 32 columns of weights: by the processor's matrix unit (AMX) where it has one, else
// by VNNI. The sums are exact, so it is all the same.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rrwkv {

constexpr size_t kPanel = 32;  // columns of weights at a time
constexpr size_t kDepth = 64;  // of rows of weights: a multiple of this, with zeros to the end
constexpr size_t kBlock = 32;  // rows of activations at a time

inline size_t padded(size_t n, size_t to) { return (n + to - 1) / to * to; }

// int8 weights [K, columns <= 32], rows a stride apart, in the order of products: [2, depth / 4, 16 columns, 4 rows].
void pack(const int8_t* weight, size_t stride, size_t K, size_t columns, int8_t* packed);

// The sums of a packed panel's columns [32].
void sum_columns(const int8_t* packed, size_t depth, int32_t* sums);

// Whether there is a matrix unit that this process may use.
bool has_amx();

// Makes the matrix unit, if it is to be used, ready for this thread, as long as it lives.
class Tiles {
 public:
  explicit Tiles(bool amx);
  ~Tiles();
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  // sums [32, 32] of `rows` rows, at most 32, of x [32, depth], which must be there to its end.
  void multiply(const uint8_t* x, size_t rows, size_t depth, const int8_t* packed, int32_t* sums) const;

 private:
  bool amx_;
};

}  // namespace rrwkv
