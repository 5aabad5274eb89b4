#include "model/matrix/float32.h"

#include <cstring>

namespace rrwkv {

void Float32::quantize(const float* x, QuantizedActivations& to) const {
  std::memcpy(to.values.of(inputs), x, inputs * sizeof *x);
}

void Float32::multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange&, float* y) const {
  const auto [begin, end] = part_of(part, parts, outputs, kLine);
  kernels_.floats.sum_rows(x.values.data(), weight_ + begin, inputs, outputs, end - begin, y + begin);
}

MemoryRange Float32::start(size_t part, size_t parts) const {
  const auto [begin, end] = part_of(part, parts, outputs, kLine);
  const size_t size = sizeof *weight_;
  return {reinterpret_cast<const char*>(weight_ + begin), (end - begin) * size, inputs, outputs * size};
}

void Float32::quantize_rows(const float* x, size_t rows, QuantizedActivations& to, const Threads&) const {
  std::memcpy(to.values.of(rows * inputs), x, rows * inputs * sizeof *x);
}

void Float32::multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const {
  threads.share_spans(threads.count, rows, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t)
      kernels_.floats.sum_rows(x.values.data() + t * inputs, weight_, inputs, outputs, outputs, y + t * outputs);
  });
}

}  // namespace rrwkv
