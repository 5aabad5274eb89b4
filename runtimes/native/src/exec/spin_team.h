// Threads that stay together for a whole run: what they share, and when, is then told through memory that they watch,
// in a third of the time that onnxruntime's pool takes to be asked.
#pragma once

#include <atomic>
#include <exception>

#include "exec/shared_work.h"
#include "exec/threads.h"

namespace rrwkv {

class SpinTeam : public Threads {
 public:
  explicit SpinTeam(size_t count) : Threads(count) {}
  void expect(const MemoryRange& next) const override;

  // leader() on the thread that calls, while the pool's other threads help with what it shares: those that come, and
  // from when they do, for a pool promises nothing. Raises what the leader raises.
  template <typename Leader>
  void lead(const Threads& pool, const Leader& leader);

 protected:
  void run(size_t parts, void (*work)(void*, size_t), void* data) const override;

 private:
  void help() const;

  mutable SharedWork shared_;
  std::atomic<bool> over_{false};
};

template <typename Leader>
void SpinTeam::lead(const Threads& pool, const Leader& leader) {
  std::exception_ptr error;
  std::atomic_flag led = ATOMIC_FLAG_INIT;
  const int here = 0;
  static thread_local const int* caller = nullptr;  // of the team that this thread leads
  caller = &here;
  pool.share(pool.count, [&](size_t) {
    expect({});
    if (caller != &here) return help();
    if (led.test_and_set()) return;
    try {
      leader();
    } catch (...) {
      error = std::current_exception();
    }
    over_.store(true, std::memory_order_release);
  });
  caller = nullptr;
  if (error) std::rethrow_exception(error);
}

}  // namespace rrwkv
