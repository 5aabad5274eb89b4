#include "model/head.h"

#include "exec/workspace.h"

namespace rrwkv {

void Head::run(const float* x, const Matrix* next, const Execution& exec, float* logits) const {
  Workspace& m = workspace();
  const size_t C = w_.matrix->inputs;
  float* h = m.h.of(exec.tokens * C);
  normalize(w_.ln_out, x, C, exec, h);
  quantize(*w_.matrix, h, exec.tokens, exec, m.activations[0]);
  const Product product{w_.matrix.get(), &m.activations[0], logits};
  multiply(&product, 1, exec.tokens, next, exec);
}

}  // namespace rrwkv
