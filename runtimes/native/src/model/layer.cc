#include "model/layer.h"

#include <algorithm>

#include "exec/workspace.h"

namespace rrwkv {
namespace {

// LN(x) below the row before it: [1 + T, C].
const float* normalized(const Norm& norm, const float* x, size_t C, const float* before, const Execution& exec) {
  float* h = workspace().h.of((1 + exec.tokens) * C);
  std::copy_n(before, C, h);
  normalize(norm, x, C, exec, h + C);
  return h;
}

}  // namespace

void Layer::run(const float* x, const LayerRun& run, const Matrix* next, const Execution& exec, float* y) const {
  Workspace& m = workspace();
  const size_t C = w_.channels, T = exec.tokens;
  const float *h = normalized(w_.ln1, x, C, run.shift, exec), *M = nullptr;
  if (w_.medium) {
    w_.medium->run(h + C, run.medium, &w_.time->first(), exec, m.recalled.of(T * C));
    M = m.recalled.data();
  }
  float* after = m.x.of(T * C);
  w_.time->run({h, M}, run.recurrent, &w_.channel->first(), exec, after);
  std::copy_n(h + T * C, C, run.new_shift);
  exec.share(T * C, kLine,
             [&](size_t begin, size_t end) { exec.kernels.rows.add(x + begin, end - begin, after + begin); });

  h = normalized(w_.ln2, after, C, run.shift + C, exec);
  w_.channel->run({h, M}, after, next, exec, y);
  std::copy_n(h + T * C, C, run.new_shift + C);
}

void normalize(const Norm& norm, const float* x, size_t C, const Execution& exec, float* h) {
  exec.share(exec.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t)
      exec.kernels.rows.normalize(x + t * C, norm.gain, norm.bias, norm.epsilon, C, h + t * C);
  });
}

}  // namespace rrwkv
