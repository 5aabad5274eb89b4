#include "model/blocks.h"

#include "exec/workspace.h"

namespace rrwkv {

float* mix(const BlockInput& x, const Mix& of, size_t C, size_t roles, const Execution& exec) {
  float* mixes = workspace().mixes.of(roles * exec.tokens * C);
  exec.share(exec.tokens, 1, [&](size_t begin, size_t end) {
    for (size_t role = 0; role < roles; ++role) {
      const Mix of_role{of.now + role * C, of.before + role * C, x.M ? of.recalled + role * C : nullptr};
      for (size_t t = begin; t < end; ++t) {
        const float *before = x.h + t * C, *now = before + C;
        const Mix of_token{now, before, x.M ? x.M + t * C : nullptr};
        exec.kernels.rows.mix(of_token, of_role, C, mixes + (role * exec.tokens + t) * C);
      }
    }
  });
  return mixes;
}

}  // namespace rrwkv
