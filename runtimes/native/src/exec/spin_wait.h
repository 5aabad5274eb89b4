// Waiting without sleep.
#pragma once

#include "exec/memory_range.h"

namespace rrwkv {

// Waiting for others, who have cores of their own; if it lasts, perhaps they have not. Meanwhile it fetches what this
// thread reads next.
class SpinWait {
 public:
  static void expect(const MemoryRange& next);
  void wait();

 private:
  int pauses_ = 0;
};

}  // namespace rrwkv
