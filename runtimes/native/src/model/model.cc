#include "model/model.h"

namespace rrwkv {

void Model::run(const float* x, const ModelRun& run, size_t scored, const Execution& exec, float* logits) const {
  static thread_local Scratch<float> of_thread;
  const size_t C = w_.layer().channels, L = w_.layers.size(), T = exec.tokens;
  size_t kept = 1;  // values of a layer
  for (const size_t size : w_.layer().time->state_shape()) kept *= size;
  float* y = of_thread.of(T * C);
  const auto first_of = [this](size_t layer) { return &w_.layers[layer].weights().time->first(); };
  for (size_t i = 0; i < L; ++i) {
    LayerRun layer{
        run.shift + 2 * C * i, run.new_shift + 2 * C * i, {run.recurrent + kept * i, run.new_recurrent + kept * i}, {}};
    if (w_.has_mediums()) layer.medium = run.mediums[i];
    const Matrix* next = i + 1 < L ? first_of(i + 1) : w_.head.weights().matrix.get();
    w_.layers[i].run(i ? y : x, layer, next, exec, y);
  }
  w_.head.run(y + (T - scored) * C, first_of(0), {scored, exec.alone, exec.kernels, exec.threads}, logits);
}

}  // namespace rrwkv
