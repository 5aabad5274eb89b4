#include "wasm/team.h"

#include <stdexcept>

#include "wasm/waiting.h"

namespace rrwkv {
namespace {

constexpr int kPatience = 60;  // seconds without news of a helper: no part takes as long

}  // namespace

// Whoever goes to sleep says so and then looks once more whether there is work, or it is done; whoever shares work, or
// has done it, looks afterwards whether somebody sleeps. That is in one order, as all of WebAssembly's atomic
// instructions.

void Team::call() const {
  if (!running_.load() || !asleep_.load() || !asleep_.exchange(false)) return;
  calls_.fetch_add(1);
  wake(calls_);
}

void Team::run(size_t parts, void (*work)(void*, size_t), void* data) const {
  shared_.open(parts, work, data);
  call();
  wait_for(parts - shared_.do_own());
}

void Team::wait_for(size_t others) const {
  ShortWait wait;
  int seconds = 0;
  for (uint32_t done; (done = shared_.done().load()) < others;) {
    if (failed_.load()) throw std::runtime_error("a thread failed");
    if (seconds == kPatience) throw std::runtime_error("a thread does not answer");
    if (wait.goes_on()) continue;
    leader_sleeps_.store(true);
    const bool waits = shared_.done().load() == done && !failed_.load();
    seconds = waits && !sleep(shared_.done(), done, kSecond) ? seconds + 1 : 0;
    leader_sleeps_.store(false);
  }
}

void Team::help() {
  while (!over_.load()) {
    for (ShortWait wait; running_.load() && wait.goes_on();) {
      if (!shared_.do_next()) continue;
      shared_.add_done();
      if (leader_sleeps_.load()) wake(shared_.done());
      wait = ShortWait();
    }
    rest();
  }
}

void Team::rest() {
  const uint32_t calls = calls_.load();
  asleep_.store(true);
  if (!over_.load() && !(running_.load() && shared_.is_open())) sleep(calls_, calls, kForever);
}

void Team::end() {
  over_.store(true);
  calls_.fetch_add(1);
  wake(calls_);
}

void Team::fail() {
  failed_.store(true);
  wake(shared_.done());
}

}  // namespace rrwkv
