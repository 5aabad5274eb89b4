// What the two blocks of a layer begin with; and time-mix, of whatever generation.
#pragma once

#include <vector>

#include "exec/execution.h"
#include "model/matrix/matrix.h"

namespace rrwkv {

// h [1 + T, C], the row before the tokens first; M [T, C], what they recall, null without mediums.
struct BlockInput {
  const float *h, *M;
};

// What time-mix keeps of a layer, before and after some tokens.
struct Recurrent {
  const float* before;
  float* after;
};

class TimeMix {
 public:
  virtual ~TimeMix() = default;
  // mixed [T, C]. next: what is multiplied by after this.
  virtual void run(const BlockInput& x, const Recurrent& state, const Matrix* next, const Execution& exec,
                   float* mixed) const = 0;
  // What it multiplies by first.
  virtual const Matrix& first() const = 0;
  // The shape of what it keeps.
  virtual std::vector<size_t> state_shape() const = 0;
};

// For each of some roles [T, C]: (h ⊙ a + h' ⊙ b) + M ⊙ c, of [roles, C].
float* mix(const BlockInput& x, const Mix& of, size_t C, size_t roles, const Execution& exec);

}  // namespace rrwkv
