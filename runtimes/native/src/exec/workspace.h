// What one thread keeps for the layers that it runs, so that nothing is allocated while it runs them.
#pragma once

#include "exec/quantized_activations.h"

namespace rrwkv {

struct MediumWorkspace {
  QuantizedActivations activations;
  Scratch<float> q, g, z, hidden, gate, held, keys, columns;
};

struct Workspace {
  QuantizedActivations activations[3];
  Scratch<float> h, x, recalled, mixes, k, v, r;  // [T, …] each, and h with the row before the first
  MediumWorkspace medium;
};

inline Workspace& workspace() {
  static thread_local Workspace of_thread;
  return of_thread;
}

}  // namespace rrwkv
