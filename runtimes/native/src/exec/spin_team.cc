#include "exec/spin_team.h"

#include "exec/spin_wait.h"

namespace rrwkv {

void SpinTeam::expect(const MemoryRange& next) const { SpinWait::expect(next); }

void SpinTeam::run(size_t parts, void (*work)(void*, size_t), void* data) const {
  shared_.open(parts, work, data);
  const size_t own = shared_.do_own();
  for (SpinWait pause; shared_.done().load(std::memory_order_acquire) + own < parts;) pause.wait();
}

void SpinTeam::help() const {
  SpinWait pause;
  while (!over_.load(std::memory_order_acquire)) {
    if (!shared_.do_next()) {
      pause.wait();
      continue;
    }
    shared_.add_done();
    pause = SpinWait();
  }
}

}  // namespace rrwkv
