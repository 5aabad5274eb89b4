// Heads of a time-mix, whose states are matrices [N, N].
#pragma once

#include "exec/execution.h"
#include "exec/span.h"

namespace rrwkv {

// work(heads) over H heads of N channels, each by one thread: its S stays in the first cache for all tokens.
template <typename Action>
void share_heads(size_t H, size_t N, const Execution& exec, const Action& work) {
  constexpr size_t kWorthIt = 1 << 14;  // values of S before several threads rewrite them faster
  const size_t parts = exec.tokens * H * N * N < kWorthIt ? 1 : exec.threads.count;
  exec.threads.share_spans(parts, H, 1, [&](size_t begin, size_t end) { work(Span{begin, end}); });
}

}  // namespace rrwkv
