#include "exec/spin_team.h"

#include "exec/spin_wait.h"

namespace rrwkv {
namespace {

constexpr uint64_t kMostParts = 0xffff;

uint64_t parts_of(uint64_t ticket) { return ticket >> 16 & kMostParts; }
uint64_t taken_of(uint64_t ticket) { return ticket & kMostParts; }

}  // namespace

void SpinTeam::expect(const MemoryRange& next) const { SpinWait::expect(next); }

bool SpinTeam::take(size_t* part) const {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while (taken_of(ticket) < parts_of(ticket)) {
    *part = taken_of(ticket);
    if (ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) return true;
  }
  return false;
}

// Nobody can take a part of other work than the one that is shared now: the ticket, which says its number, would have
// changed. And it stays until all parts that were taken are done.
void SpinTeam::run(size_t parts, void (*work)(void*, size_t), void* data) const {
  const uint64_t number = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  work_ = work;
  data_ = data;
  done_.store(0, std::memory_order_relaxed);
  ticket_.store(number << 32 | parts << 16 | 1, std::memory_order_release);
  work(data, 0);
  size_t mine = 1;
  for (size_t part = 0; take(&part); ++mine) work(data, part);
  for (SpinWait pause; done_.load(std::memory_order_acquire) + mine < parts;) pause.wait();
}

void SpinTeam::help() const {
  SpinWait pause;
  while (!over_.load(std::memory_order_acquire)) {
    size_t part = 0;
    if (!take(&part)) {
      pause.wait();
      continue;
    }
    work_(data_, part);
    done_.fetch_add(1, std::memory_order_release);
    pause = SpinWait();
  }
}

}  // namespace rrwkv
