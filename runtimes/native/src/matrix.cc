#include "matrix.h"

namespace rrwkv {
namespace {

constexpr size_t kLarge = 8192;  // outputs

}  // namespace

void multiply(const Product* products, size_t count, const Matrix* next, const Threads& threads) {
  // Of a matrix so large that it shows if one thread is late, several parts each.
  const size_t parts = threads.count * (products[0].matrix->outputs > kLarge ? 4 : 1);
  for (size_t p = 0; p < count; ++p) products[p].x->sums.of(parts * products[p].matrix->outputs);
  threads.share(parts, [&](size_t i) {
    for (size_t p = 0; p < count; ++p) {
      const Matrix* after = p + 1 < count ? products[p + 1].matrix : next;
      products[p].matrix->multiply(*products[p].x, i, parts, after ? after->start(i, parts) : nullptr, products[p].y);
    }
  });
  for (size_t p = 0; p < count; ++p) products[p].matrix->finish(*products[p].x, parts, products[p].y);
}

}  // namespace rrwkv
