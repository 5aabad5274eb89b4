#include "model/matrix/matrix.h"

namespace rrwkv {

size_t Matrix::parts(size_t threads) const {
  constexpr size_t kLarge = 8192;  // outputs
  return threads * (outputs > kLarge ? 4 : 1);
}

void quantize(const Matrix& matrix, const float* x, size_t rows, const Execution& exec, QuantizedActivations& to) {
  exec.alone ? matrix.quantize(x, to) : matrix.quantize_rows(x, rows, to, exec.threads);
}

void multiply(const Product* products, size_t count, size_t rows, const Matrix* next, const Execution& exec) {
  if (exec.alone) return multiply_row(products, count, next, exec.threads);
  for (const Product* p = products; p < products + count; ++p)
    p->matrix->multiply_rows(*p->x, rows, exec.threads, p->y);
}

void multiply_row(const Product* products, size_t count, const Matrix* next, const Threads& threads) {
  const size_t parts = products[0].matrix->parts(threads.count);
  for (size_t p = 0; p < count; ++p) products[p].x->sums.of(parts * products[p].matrix->outputs);
  threads.share(parts, [&](size_t i) {
    const size_t others = next ? next->parts(threads.count) : 0;
    const MemoryRange last = next ? next->start(i % others, others) : MemoryRange{};
    for (size_t p = 0; p < count; ++p) {
      const MemoryRange after = p + 1 < count ? products[p + 1].matrix->start(i, parts) : last;
      products[p].matrix->multiply(*products[p].x, i, parts, after, products[p].y);
    }
    threads.expect(last);
  });
  for (size_t p = 0; p < count; ++p) products[p].matrix->finish(*products[p].x, parts, products[p].y);
}

}  // namespace rrwkv
