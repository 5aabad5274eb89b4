// How many tokens a kernel computes, and by whom.
#pragma once

#include "model/matrix.h"

namespace rrwkv {

// alone: a step of one token, whose products are of one row and whose other work no threads share. amx: whether
// products of many rows are the processor's matrix unit's.
struct Execution {
  size_t tokens;
  bool alone, amx;
  const Threads& threads;

  // work(begin, end) over 0 .. n, in multiples of `unit`.
  template <typename Action>
  void share(size_t n, size_t unit, const Action& work) const {
    threads.share_spans(alone ? 1 : threads.count, n, unit, work);
  }

  void quantize(const Matrix& matrix, const float* x, size_t rows, QuantizedActivations& quantized) const {
    alone ? matrix.quantize(x, quantized) : matrix.quantize_rows(x, rows, quantized, threads);
  }

  // next: what is multiplied by after these.
  void multiply(const Product* products, size_t count, size_t rows, const Matrix* next) const {
    if (alone) return rrwkv::multiply(products, count, next, threads);
    for (const Product* p = products; p < products + count; ++p)
      p->matrix->multiply_rows(*p->x, rows, amx, threads, p->y);
  }
};

}  // namespace rrwkv
