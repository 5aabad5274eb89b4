// How many tokens are computed, and by whom.
#pragma once

#include "exec/threads.h"

namespace rrwkv {

struct Kernels;

// alone: a step of one token, whose products are of one row and whose other work no threads share.
struct Execution {
  size_t tokens;
  bool alone;
  const Kernels& kernels;
  const Threads& threads;

  // work(begin, end) over 0 .. n, in multiples of `unit`.
  template <typename Action>
  void share(size_t n, size_t unit, const Action& work) const {
    threads.share_spans(alone ? 1 : threads.count, n, unit, work);
  }
};

}  // namespace rrwkv
