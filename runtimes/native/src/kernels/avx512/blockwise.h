// Weights with a scale for each block of a row.
#pragma once

#include "model/matrix.h"

namespace rrwkv {

// MatMulNBits' uint8 [N, blocks, block / (8 / bits)] with a scale for each block and zero in the middle.
class Blockwise : public Matrix {
 public:
  void finish(const QuantizedActivations&, size_t, float*) const override {}
  MemoryRange start(size_t part, size_t parts) const override;

 protected:
  Blockwise(const uint8_t* weight, size_t inputs, size_t outputs, size_t block, size_t bits, const float* scale)
      : Matrix(inputs, outputs),
        weight_(weight),
        scale_(scale),
        block_(block),
        blocks_((inputs + block - 1) / block),
        row_bytes_(blocks_ * block * bits / 8) {}

  // A block's of 16 outputs from this one on; where there are fewer, the last one's again.
  void scales_of(size_t output, size_t block, float* scales) const;

  const uint8_t* weight_;
  const float* scale_;
  size_t block_, blocks_, row_bytes_;
};

// Activations are int8, of a scale for each block.
class BlockwiseInt8 : public Blockwise {
 public:
  BlockwiseInt8(const uint8_t* weight, size_t inputs, size_t outputs, size_t block, size_t bits, const float* scale)
      : Blockwise(weight, inputs, outputs, block, bits, scale), bits_(bits), vectors_((row_bytes_ + 63) / 64) {}
  void quantize(const float* x, QuantizedActivations& quantized) const override;
  void multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after, float* y) const override;
  void quantize_rows(const float* x, size_t rows, QuantizedActivations& quantized,
                     const Threads& threads) const override;
  void multiply_rows(QuantizedActivations& x, size_t rows, bool amx, const Threads& threads, float* y) const override;

 private:
  static constexpr size_t kRun = 128;  // values of 4 bits that 64 bytes hold

  // A row's bytes [row_size], and of its blocks the scales, and what the weights' zero adds before they are scaled.
  // run: of 4-bit weights, how many even and odd ones are apart from each other.
  void quantize_row(const float* x, size_t run, uint8_t* bytes, float* scales, float* zeros) const;
  void unpack(size_t output, uint8_t* bytes, float* scales) const;
  size_t row_size() const { return vectors_ * 512 / bits_; }
  template <int kBits, size_t kRows>
  void rows(const QuantizedActivations& x, size_t first, const char* ahead, float* y) const;

  size_t bits_, vectors_;
};

// Of 8 bits, times activations as they are.
class BlockwiseFloat : public Blockwise {
 public:
  BlockwiseFloat(const uint8_t* weight, size_t inputs, size_t outputs, size_t block, const float* scale)
      : Blockwise(weight, inputs, outputs, block, 8, scale) {}
  void quantize(const float* x, QuantizedActivations& quantized) const override;
  void multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after, float* y) const override;
  void quantize_rows(const float* x, size_t rows, QuantizedActivations& quantized,
                     const Threads& threads) const override;
  void multiply_rows(QuantizedActivations& x, size_t rows, bool amx, const Threads& threads, float* y) const override;

 private:
  template <size_t kRows>
  void rows(const QuantizedActivations& x, size_t first, const char* ahead, float* y) const;
  void unpack(size_t output, float* weights) const;
};

}  // namespace rrwkv
