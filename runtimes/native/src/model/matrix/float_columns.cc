#include "model/matrix/float_columns.h"

#include <cstring>
#include <type_traits>

#include "exec/streams.h"
#include "model/matrix/float_rows.h"

namespace rrwkv {

template <typename Value>
const FloatColumnKernels<Value>& FloatColumns<Value>::kernels() const {
  if constexpr (std::is_same_v<Value, float>)
    return kernels_.float32;
  else
    return kernels_.float16;
}

template <typename Value>
Span FloatColumns<Value>::columns(size_t part, size_t parts) const {
  constexpr size_t kInLine = kLineBytes / sizeof(Value);
  return part_of(part, parts, outputs, kInLine);
}

template <typename Value>
MemoryRange FloatColumns<Value>::start(size_t part, size_t parts) const {
  const auto [begin, end] = columns(part, parts);
  const size_t size = sizeof(Value);
  return {reinterpret_cast<const char*>(w_.weight + begin), (end - begin) * size, inputs, outputs * size};
}

template <typename Value>
void FloatColumns<Value>::quantize(const float* x, QuantizedActivations& to) const {
  std::memcpy(to.values.of(inputs), x, inputs * sizeof *x);
}

template <typename Value>
void FloatColumns<Value>::multiply(QuantizedActivations& x, size_t part, size_t parts, const MemoryRange& after,
                                   float* y) const {
  kernels().multiply(w_, x.values.data(), columns(part, parts), after, y);
}

template <typename Value>
void FloatColumns<Value>::quantize_rows(const float* x, size_t rows, QuantizedActivations& to,
                                        const Threads& threads) const {
  pack_float_rows(kernels_.floats, x, rows, inputs, threads, to);
}

template <typename Value>
void FloatColumns<Value>::multiply_rows(QuantizedActivations& x, size_t rows, const Threads& threads, float* y) const {
  const auto panel = [this](size_t n, float* left, float* right) { kernels().unpack(w_, n, left, right); };
  multiply_float_rows(kernels_.floats, x, rows, *this, inputs, threads, panel, y);
}

template class FloatColumns<uint16_t>;
template class FloatColumns<float>;

}  // namespace rrwkv
