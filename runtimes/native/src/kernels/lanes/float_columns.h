// Float16Kernels and Float32Kernels over sixteen lanes: weights [inputs, outputs] that are floats once they are read.
#pragma once

#include <algorithm>

#include "exec/streams.h"
#include "kernels/kernels.h"
#include "kernels/lanes/each.h"

namespace rrwkv::lanes {

// How sixteen weights become Floats, and their type.
template <class Floats>
struct Halves {
  using Type = uint16_t;
  static Floats load(const uint16_t* from) { return Floats::of_halves(from); }
  static Floats load(const uint16_t* from, size_t left) { return Floats::of_halves(from, left); }
};
template <class Floats>
struct Singles {
  using Type = float;
  static Floats load(const float* from) { return Floats::load(from); }
  static Floats load(const float* from, size_t left) { return Floats::load(from, left); }
};

// Values: one of these. kVectors: vectors of sums that stay in registers.
template <class Floats, class Values, size_t kVectors>
struct FloatColumns {
  using Weights = FloatWeights<typename Values::Type>;
  static constexpr size_t kDeep = 8;  // rows at a time while the sums stay in registers
  static constexpr size_t kInLine = kLineBytes / sizeof(typename Values::Type);

  // kVectors · 16 columns of some rows. ahead: bytes from a weight to what is fetched with it.
  static void add_wide(const Weights& w, const float* x, size_t row, size_t end, size_t column, size_t ahead,
                       Fetch* next, float* y) {
    Floats sums[kVectors];
    for (size_t i = 0; i < kVectors; ++i) sums[i] = Floats::load(y + column + kLanes * i);
    for (; row < end; ++row) {
      const auto* weights = w.weight + row * w.outputs + column;
      for (size_t i = 0; i < kVectors * kLanes; i += kInLine)
        next ? void(next->line<Cache::kFirst>()) : fetch(weights + i + ahead);
      const Floats value = Floats::all(x[row]);
      for (size_t i = 0; i < kVectors; ++i) sums[i] = fma(value, Values::load(weights + kLanes * i), sums[i]);
    }
    for (size_t i = 0; i < kVectors; ++i) sums[i].store(y + column + kLanes * i);
  }

  // Some rows at a time, over all columns: so memory is read as it lies.
  static void multiply(const Weights& w, const float* x, Span outputs, const MemoryRange& after, float* y) {
    constexpr size_t kWide = kVectors * kLanes;
    const auto [begin, end] = outputs;
    std::fill(y + begin, y + end, 0.0f);
    Fetch next(after, kDeep * (end - begin) * sizeof *w.weight);
    for (size_t k = 0; k < w.inputs; k += kDeep) {
      const size_t stop = std::min(k + kDeep, w.inputs);
      size_t n = begin;
      for (; n + kWide <= end; n += kWide)
        add_wide(w, x, k, stop, n, kDeep * w.outputs, stop == w.inputs ? &next : nullptr, y);
      for (; n < end; n += kLanes) {
        const size_t left = std::min(kLanes, end - n);
        Floats sum = Floats::load(y + n, left);
        for (size_t r = k; r < stop; ++r)
          sum = fma(Floats::all(x[r]), Values::load(w.weight + r * w.outputs + n, left), sum);
        sum.store(y + n, left);
      }
    }
  }

  static void unpack(const Weights& w, size_t output, float* left, float* right) {
    const size_t first = w.outputs - output, second = first > kLanes ? first - kLanes : 0;
    for (size_t k = 0; k < w.inputs; ++k) {
      const auto* row = w.weight + k * w.outputs + output;
      fetch(row + kDeep * w.outputs);
      Values::load(row, first).store(left + kLanes * k);
      (second ? Values::load(row + kLanes, second) : Floats::all(0)).store(right + kLanes * k);
    }
  }

  static constexpr FloatColumnKernels<typename Values::Type> kTable = {multiply, unpack};
};

template <class Floats, size_t kVectors>
constexpr auto kFloat16 = FloatColumns<Floats, Halves<Floats>, kVectors>::kTable;
template <class Floats, size_t kVectors>
constexpr auto kFloat32 = FloatColumns<Floats, Singles<Floats>, kVectors>::kTable;

}  // namespace rrwkv::lanes
