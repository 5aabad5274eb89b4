#include "matrix.h"

#include <atomic>

namespace rrwkv {

void multiply(const Product* products, size_t count, const Matrix* next, const Threads& threads) {
  const size_t parts = threads.count;
  for (size_t p = 0; p < count; ++p) products[p].x->sums.of(parts * products[p].matrix->outputs);
  threads.share(parts, [&](size_t i) {
    for (size_t p = 0; p < count; ++p) {
      const Matrix* after = p + 1 < count ? products[p + 1].matrix : next;
      products[p].matrix->multiply(*products[p].x, i, parts, after ? after->start(i, parts) : nullptr, products[p].y);
    }
  });
  for (size_t p = 0; p < count; ++p) products[p].matrix->finish(*products[p].x, parts, products[p].y);
}

void multiply_rows(const Product* products, size_t count, size_t rows, bool amx, const Threads& threads) {
  std::atomic<size_t> taken{0};
  threads.share(threads.count, [&](size_t) {
    const Tiles tiles(amx);
    size_t first = 0, p = 0;  // the number of the first piece of the p-th product
    for (size_t piece = taken++; p < count; piece = taken++) {
      while (p < count && piece - first >= products[p].matrix->pieces()) first += products[p++].matrix->pieces();
      if (p < count) products[p].matrix->multiply_rows(*products[p].x, rows, piece - first, tiles, products[p].y);
    }
  });
}

}  // namespace rrwkv
