// How many tokens a kernel computes, and by whom.
#pragma once

#include "matrix.h"

namespace rrwkv {

// alone: a step of one token, whose products are of one row and whose other work no threads share. amx: whether
// products of many rows are the processor's matrix unit's.
struct Work {
  size_t tokens;
  bool alone, amx;
  const Threads& threads;

  size_t parts() const { return alone ? 1 : threads.count; }

  // work(begin, end) over 0 .. n, in multiples of `unit`.
  template <typename Action>
  void share(size_t n, size_t unit, const Action& work) const {
    const size_t count = parts(), units = (n + unit - 1) / unit;
    threads.share(count, [&](size_t i) {
      const size_t begin = units * i / count * unit, end = units * (i + 1) / count * unit;
      if (begin < n) work(begin, end < n ? end : n);
    });
  }

  void round(const Matrix& matrix, const float* x, size_t rows, Rounded& rounded) const {
    alone ? matrix.round(x, rounded) : matrix.round_rows(x, rows, rounded, threads);
  }

  // next: what is multiplied by after these.
  void multiply(const Product* products, size_t count, size_t rows, const Matrix* next) const {
    if (alone) return rrwkv::multiply(products, count, next, threads);
    for (const Product* p = products; p < products + count; ++p)
      p->matrix->multiply_rows(*p->x, rows, amx, threads, p->y);
  }
};

}  // namespace rrwkv
