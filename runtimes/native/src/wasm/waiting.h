// Words that a module's threads sleep at, where it has threads. In a module without them nobody is there to wait for;
// and in a check, which is no module, threads look again and again.
#pragma once

#include <atomic>
#include <cstdint>
#ifndef __wasm__
#include <thread>
#endif

namespace rrwkv {

constexpr int64_t kMillisecond = 1000000, kSecond = 1000 * kMillisecond, kForever = -1;  // nanoseconds

// Until somebody wakes this thread, while the word is what it was seen to be; false if that took too long.
inline bool sleep(const std::atomic<uint32_t>& word, uint32_t seen, int64_t nanoseconds) {
#ifdef __wasm_atomics__
  constexpr int kTimedOut = 2;
  auto* at = reinterpret_cast<int32_t*>(const_cast<std::atomic<uint32_t>*>(&word));
  return __builtin_wasm_memory_atomic_wait32(at, static_cast<int32_t>(seen), nanoseconds) != kTimedOut;
#elif defined(__wasm__)
  (void)word, (void)seen, (void)nanoseconds;
  return false;
#else
  for (int64_t looks = 0; word.load() == seen; ++looks) {
    if (looks == nanoseconds) return false;
    std::this_thread::yield();
  }
  return true;
#endif
}

// All that sleep there.
inline void wake(const std::atomic<uint32_t>& word) {
#ifdef __wasm_atomics__
  auto* at = reinterpret_cast<int32_t*>(const_cast<std::atomic<uint32_t>*>(&word));
  __builtin_wasm_memory_atomic_notify(at, UINT32_MAX);
#else
  (void)word;
#endif
}

// Waiting without sleep, for others that are about to be ready: as long as it costs to be woken. WebAssembly has no
// instruction that pauses: sums that wait for each other leave the processor to whoever shares it.
class ShortWait {
 public:
  // False when it has lasted.
  bool goes_on() {
    if (++pauses_ > kPauses) return false;
    for (uint32_t i = 0, x = pauses_; i < kSums; ++i) {
      x = x * 3 + i;
      __asm__ volatile("" : "+r"(x));
    }
    return true;
  }

 private:
  static constexpr uint32_t kPauses = 4000, kSums = 16;
  uint32_t pauses_ = 0;
};

}  // namespace rrwkv
