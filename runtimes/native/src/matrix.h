// Weight matrices as a quantized graph holds them, read in place, times one row of activations in whole numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace rrwkv {

// Memory that a 512-bit load may read to its end.
template <typename T>
class Scratch {
 public:
  T* of(size_t count) {
    if (count > size_) {
      data_.reset(static_cast<T*>(operator new(count * sizeof(T) + 128, std::align_val_t{64})));
      size_ = count;
    }
    return data_.get();
  }
  T* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { operator delete(p, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

// A row of activations, rounded for one matrix.
struct Rounded {
  Scratch<uint8_t> bytes;  // unsigned for `Columns`, signed for `Blocks`
  float scale = 1;         // of `Columns`
  int zero = 0;
  Scratch<int32_t> sums;         // of `Columns`: a row for each part
  Scratch<float> scales, zeros;  // of `Blocks`: each lane's scale; each block's scale times what zero points add
  Scratch<float> values;  // of `FloatBlocks`: as they are, with zeros to the end; of `Blocks`: each block's scale
};

class Matrix {
 public:
  virtual ~Matrix() = default;
  virtual void round(const float* x, Rounded& rounded) const = 0;
  // One thread's part of the work on y, of `parts`. Sums of several parts are put together by `finish`. `after`: what
  // this thread reads next, to be fetched when the end comes near.
  virtual void multiply(Rounded& x, size_t part, size_t parts, const void* after, float* y) const = 0;
  virtual void finish(const Rounded& x, size_t parts, float* y) const = 0;
  // The memory that a part begins with.
  virtual const void* start(size_t part, size_t parts) const = 0;

  size_t inputs = 0, outputs = 0;
};

// int8 [K, N] with a scale for each column. Activations are uint8, of a scale that is given (a static range), or of
// this row's own range as DynamicQuantizeLinear defines it.
class Columns : public Matrix {
 public:
  struct Range {
    float scale;
    int zero;
  };

  Columns(const int8_t* weight, size_t inputs, size_t outputs, const float* scale, const Range* range);
  void round(const float* x, Rounded& rounded) const override;
  void multiply(Rounded& x, size_t part, size_t parts, const void* after, float* y) const override;
  void finish(const Rounded& x, size_t parts, float* y) const override;
  const void* start(size_t part, size_t parts) const override;

 private:
  struct Block {
    size_t row, rows, column, columns;
  };

  Block block(size_t part, size_t parts) const;
  void accumulate(const uint8_t* x, const Block& block, const void* after, int32_t* sums) const;
  void scale(const Rounded& x, const int32_t* sums, size_t others, size_t begin, size_t end, float* y) const;

  const int8_t* weight_;
  const float* scale_;
  bool has_range_;
  Range range_{};
  std::vector<int32_t> column_sums_;
};

// MatMulNBits' uint8 [N, blocks, block / (8 / bits)] with a scale for each block and zero in the middle; activations
// are int8, of a scale for each block.
class Blocks : public Matrix {
 public:
  Blocks(const uint8_t* weight, size_t inputs, size_t outputs, size_t block, size_t bits, const float* scale);
  void round(const float* x, Rounded& rounded) const override;
  void multiply(Rounded& x, size_t part, size_t parts, const void* after, float* y) const override;
  void finish(const Rounded&, size_t, float*) const override {}
  const void* start(size_t part, size_t parts) const override { return weight_ + outputs * part / parts * row_bytes_; }

  // A row's bytes [padded], and of its blocks the scales, and what the weights' zero adds before they are scaled.
  void round_row(const float* x, uint8_t* bytes, float* scales, float* zeros) const;
  size_t padded() const { return vectors_ * 512 / bits_; }

 private:
  template <int kBits, size_t kRows>
  void rows(const Rounded& x, size_t first, const char* ahead, float* y) const;

  const uint8_t* weight_;
  const float* scale_;
  size_t block_, blocks_, bits_, row_bytes_, vectors_;
};

// The same weights in 8 bits, times activations as they are.
class FloatBlocks : public Matrix {
 public:
  FloatBlocks(const uint8_t* weight, size_t inputs, size_t outputs, size_t block, const float* scale);
  void round(const float* x, Rounded& rounded) const override;
  void multiply(Rounded& x, size_t part, size_t parts, const void* after, float* y) const override;
  void finish(const Rounded&, size_t, float*) const override {}
  const void* start(size_t part, size_t parts) const override { return weight_ + outputs * part / parts * row_bytes_; }

 private:
  template <size_t kRows>
  void rows(const Rounded& x, size_t first, const char* ahead, float* y) const;

  const uint8_t* weight_;
  const float* scale_;
  size_t block_, blocks_, row_bytes_;
};

}  // namespace rrwkv
