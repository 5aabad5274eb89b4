#include "exec/spin_wait.h"

#include <thread>

namespace rrwkv {
namespace {

// What this thread reads when it has waited.
thread_local Fetch expected;

// Fetches a few lines of it, if there are any left.
bool fetch_expected() {
  constexpr int kLines = 4;
  for (int i = 0; i < kLines; ++i)
    if (!expected.line<Cache::kSecond>()) return false;
  return true;
}

// Lets the processor do what else it has to do meanwhile.
void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" : : : "memory");
#endif
}

}  // namespace

void SpinWait::expect(const MemoryRange& next) {
  constexpr size_t kMost = 256 << 10;  // bytes: of the second cache
  expected = {next, kMost};
}

void SpinWait::wait() {
  constexpr int kPauses = 1000;
  if (fetch_expected()) return;
  if (++pauses_ < kPauses) return pause();
  std::this_thread::yield();
}

}  // namespace rrwkv
