#include "model/matrix/blockwise.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "exec/streams.h"
#include "model/matrix/float_rows.h"
#include "model/matrix/tiles.h"

namespace rrwkv {

MemoryRange Blockwise::start(size_t part, size_t parts) const {
  const auto [begin, end] = part_of(part, parts, outputs, 1);
  return streams_of(w_.weight + begin * w_.row_bytes, end - begin, w_.row_bytes);
}

void BlockwiseInt8::quantize(const float* x, QuantizedActivations& to) const {
  float *scales = to.values.of(w_.blocks), *lane_scales = to.scales.of(w_.vectors * kLine);
  kernels_.blockwise.quantize(w_, x, to.bytes.of(w_.activation_bytes()), scales, lane_scales, to.zeros.of(w_.blocks));
}

void BlockwiseInt8::multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after,
                             float* y) const {
  const BlockwiseRow row{x.bytes.data(), x.scales.data(), x.zeros.data()};
  kernels_.blockwise.multiply(w_, row, part_of(part, parts, outputs, 1), after, y);
}

size_t BlockwiseInt8::row_bytes() const { return w_.activation_bytes() * kernels_.blockwise.value_bytes(w_.bits); }

void BlockwiseInt8::quantize_rows(const float* x, size_t rows, QuantizedActivations& to, const Threads& threads) const {
  const size_t all = padded(rows, kSide), size = row_bytes();  // the last ones are multiplied, and not used
  uint8_t* bytes = to.bytes.of(all * size);
  float *scales = to.values.of(all * w_.blocks), *zeros = to.zeros.of(all * w_.blocks);
  threads.share_spans(threads.count, rows, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t)
      kernels_.blockwise.quantize_row(w_, x + t * inputs, bytes + t * size, scales + t * w_.blocks,
                                      zeros + t * w_.blocks);
  });
}

// 16 outputs and 16 rows at a time, block by block.
void BlockwiseInt8::multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const {
  std::atomic<size_t> taken{0};
  const size_t size = row_bytes();
  threads.share(threads.count, [&](size_t) {
    static thread_local Scratch<uint8_t> bytes_of_thread;
    static thread_local Scratch<float> scales_of_thread;
    const Tiles tiles(kernels_.tiles, w_.block);
    uint8_t* bytes = bytes_of_thread.of(size * kSide);
    float* scales = scales_of_thread.of(w_.blocks * kSide);
    for (size_t n = taken.fetch_add(kSide); n < outputs; n = taken.fetch_add(kSide)) {
      kernels_.blockwise.unpack(w_, n, bytes, scales);
      for (size_t t = 0; t < rows; t += kSide) {
        const BlockwiseRows some{x.bytes.data() + t * size, x.values.data() + t * w_.blocks,
                                 x.zeros.data() + t * w_.blocks, size};
        const Target to{y + t * outputs + n, std::min(kSide, rows - t), std::min(kSide, outputs - n), outputs};
        kernels_.blockwise.multiply_tile({bytes, scales, w_.block, w_.blocks, w_.bits}, some, *tiles, to);
      }
    }
  });
}

void BlockwiseFloat::quantize(const float* x, QuantizedActivations& to) const {
  float* values = to.values.of(w_.row_bytes);
  std::memset(values, 0, w_.row_bytes * sizeof *values);
  std::memcpy(values, x, inputs * sizeof *values);
  kernels_.blockwise_float.zeros(w_, values, to.zeros.of(w_.blocks));
}

void BlockwiseFloat::multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after,
                              float* y) const {
  const Span some = part_of(part, parts, outputs, 1);
  kernels_.blockwise_float.multiply(w_, x.values.data(), x.zeros.data(), some, after, y);
}

void BlockwiseFloat::quantize_rows(const float* x, size_t rows, QuantizedActivations& to,
                                   const Threads& threads) const {
  pack_float_rows(kernels_.floats, x, rows, inputs, threads, to);
}

void BlockwiseFloat::multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const {
  const auto panel = [this](size_t n, float* left, float* right) {
    kernels_.blockwise_float.unpack(w_, n, left);
    if (n + kLine < outputs) kernels_.blockwise_float.unpack(w_, n + kLine, right);
  };
  multiply_float_rows(kernels_.floats, x, rows, *this, w_.row_bytes, threads, panel, y);
}

}  // namespace rrwkv
