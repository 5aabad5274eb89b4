#include "model/matrix/float16.h"

#include <cstring>

#include "model/matrix/float_rows.h"

namespace rrwkv {

Span Float16::columns(size_t part, size_t parts) const {
  constexpr size_t kHalves = 32;  // in a line of memory
  return part_of(part, parts, outputs, kHalves);
}

MemoryRange Float16::start(size_t part, size_t parts) const {
  const auto [begin, end] = columns(part, parts);
  const size_t size = sizeof *w_.weight;
  return {reinterpret_cast<const char*>(w_.weight + begin), (end - begin) * size, inputs, outputs * size};
}

void Float16::quantize(const float* x, QuantizedActivations& to) const {
  std::memcpy(to.values.of(inputs), x, inputs * sizeof *x);
}

void Float16::multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after, float* y) const {
  kernels_.float16.multiply(w_, x.values.data(), columns(part, parts), after, y);
}

void Float16::quantize_rows(const float* x, size_t rows, QuantizedActivations& to, const Threads& threads) const {
  pack_float_rows(kernels_.floats, x, rows, inputs, threads, to);
}

void Float16::multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const {
  const auto panel = [this](size_t n, float* left, float* right) { kernels_.float16.unpack(w_, n, left, right); };
  multiply_float_rows(kernels_.floats, x, rows, *this, inputs, threads, panel, y);
}

}  // namespace rrwkv
