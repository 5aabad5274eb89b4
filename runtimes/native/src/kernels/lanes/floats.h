// FloatKernels over sixteen lanes.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"
#include "kernels/lanes/each.h"

namespace rrwkv::lanes {

// kPanelRows: rows of activations whose sums stay in registers, with so many panels of sixteen columns.
template <class Floats, size_t kPanelRows, size_t kPanels>
struct FloatProducts {
  static constexpr size_t kStride = 128;  // onnxruntime's products sum so many rows, and then these sums
  static constexpr size_t kAtOnce = 4;    // vectors of sums that need not wait for each other

  template <size_t kCount, class At>
  static void sum_columns(const float* x, const float* rows, size_t count, size_t stride, const At& at, float* y) {
    Floats totals[kCount];
    for (size_t first = 0; first < count; first += kStride) {
      Floats sums[kCount];
      for (Floats& sum : sums) sum = Floats::all(0);
      for (size_t k = first; k < std::min(first + kStride, count); ++k)
        for (size_t i = 0; i < kCount; ++i)
          sums[i] = fma(Floats::all(x[k]), at.load(rows + k * stride + i * kLanes), sums[i]);
      for (size_t i = 0; i < kCount; ++i) totals[i] = first ? sums[i] + totals[i] : sums[i];
    }
    for (size_t i = 0; i < kCount; ++i) at.store(y + i * kLanes, totals[i]);
  }

  static void sum_rows(const float* x, const float* rows, size_t count, size_t stride, size_t n, float* y) {
    if (count == 0) return std::fill_n(y, n, 0.0f), void();
    constexpr size_t kWide = kAtOnce * kLanes;
    size_t i = 0;
    for (; i + kWide <= n; i += kWide) sum_columns<kAtOnce>(x, rows, count, stride, Whole<Floats>{i}, y);
    for (; i + kLanes <= n; i += kLanes) sum_columns<1>(x, rows, count, stride, Whole<Floats>{i}, y);
    if (i < n) sum_columns<1>(x, rows, count, stride, Some<Floats>{i, n - i}, y);
  }

  static float dot(const float* a, const float* b, size_t n, size_t stride) {
    float total = 0;
    for (size_t first = 0; first < n; first += stride) {
      float sum = 0;
      for (size_t i = first; i < std::min(first + stride, n); ++i) sum = fused(a[i], b[i], sum);
      total = first ? sum + total : sum;
    }
    return total;
  }

  static void multiply_rows(const float* x, const float* rows, size_t count, size_t n, size_t stride, float* y) {
    if (count == 1) return void(*y = dot(x, rows, n, stride));
    for (size_t k = 0; k < count; k += kLanes) {
      const size_t left = std::min(kLanes, count - k);
      Floats total = Floats::all(0);
      for (size_t first = 0; first < n; first += stride) {
        Floats sum = Floats::all(0);
        for (size_t i = first; i < std::min(first + stride, n); ++i)
          sum = fma(Floats::all(x[i]), Floats::gather(rows + k * n + i, n, left), sum);
        total = first ? sum + total : sum;
      }
      total.store(y + k, left);
    }
  }

  static void pack(const float* x, size_t rows, size_t inputs, float* packed) {
    for (size_t k = 0; k < inputs; ++k)
      for (size_t t = 0; t < kFloatRows; ++t) packed[k * kFloatRows + t] = t < rows ? x[t * inputs + k] : 0.0f;
  }

  // Some rows from the first on times some panels.
  static void multiply_some(const float* packed, size_t inputs, const float* panel, size_t apart, size_t first,
                            const Target& to) {
    Floats sums[kPanelRows][kPanels];
    for (auto& row : sums)
      for (Floats& sum : row) sum = Floats::all(0);
    for (size_t k = 0; k < inputs; ++k) {
      Floats weights[kPanels];
      for (size_t p = 0; p < kPanels; ++p) weights[p] = Floats::load(panel + p * apart + kLanes * k);
      for (size_t t = 0; t < kPanelRows; ++t) {
        const Floats value = Floats::all(packed[k * kFloatRows + first + t]);
        for (size_t p = 0; p < kPanels; ++p) sums[t][p] = fma(value, weights[p], sums[t][p]);
      }
    }
    for (size_t t = 0; t < kPanelRows && first + t < to.rows; ++t)
      for (size_t p = 0; p < kPanels && p * kLanes < to.columns; ++p)
        sums[t][p].store(to.y + (first + t) * to.stride + p * kLanes, std::min(kLanes, to.columns - p * kLanes));
  }

  static void multiply_panel(const float* packed, size_t inputs, const float* panel, size_t apart, const Target& to) {
    static_assert(kFloatRows % kPanelRows == 0 && kFloatPanel % (kPanels * kLanes) == 0);
    for (size_t p = 0; p < kFloatPanel / kLanes && p * kLanes < to.columns; p += kPanels) {
      const size_t columns = std::min(kPanels * kLanes, to.columns - p * kLanes);
      for (size_t first = 0; first < to.rows; first += kPanelRows)
        multiply_some(packed, inputs, panel + p * apart, apart, first,
                      {to.y + p * kLanes, to.rows, columns, to.stride});
    }
  }

  static constexpr FloatKernels kTable = {sum_rows, multiply_rows, pack, multiply_panel};
};

}  // namespace rrwkv::lanes
