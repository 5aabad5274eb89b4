#include "exec/spin_team.h"

#include <immintrin.h>

#include <thread>

namespace rrwkv {
namespace {

constexpr uint64_t kMostParts = 0xffff;

uint64_t parts_of(uint64_t ticket) { return ticket >> 16 & kMostParts; }
uint64_t taken_of(uint64_t ticket) { return ticket & kMostParts; }

// What this thread reads when it has waited.
thread_local Fetch expected;

// Fetches a few lines of it, if there are any left.
bool fetch_expected() {
  constexpr int kLines = 4;
  for (int i = 0; i < kLines; ++i)
    if (!expected.line<Cache::kSecond>()) return false;
  return true;
}

// Waiting for others, who have cores of their own; if it lasts, perhaps they have not.
class Patience {
 public:
  void wait() {
    constexpr int kPauses = 1000;
    if (fetch_expected()) return;
    if (++pauses_ < kPauses) return _mm_pause();
    std::this_thread::yield();
  }

 private:
  int pauses_ = 0;
};

}  // namespace

void Team::expect(const Stretch& next) const {
  constexpr size_t kMost = 256 << 10;  // bytes: of the second cache
  expected = {next, kMost};
}

bool Team::take(size_t* part) const {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while (taken_of(ticket) < parts_of(ticket)) {
    *part = taken_of(ticket);
    if (ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) return true;
  }
  return false;
}

// Nobody can take a part of other work than the one that is shared now: the ticket, which says its number, would have
// changed. And it stays until all parts that were taken are done.
void Team::run(size_t parts, void (*work)(void*, size_t), void* data) const {
  const uint64_t number = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  work_ = work;
  data_ = data;
  done_.store(0, std::memory_order_relaxed);
  ticket_.store(number << 32 | parts << 16 | 1, std::memory_order_release);
  work(data, 0);
  size_t mine = 1;
  for (size_t part = 0; take(&part); ++mine) work(data, part);
  for (Patience patience; done_.load(std::memory_order_acquire) + mine < parts;) patience.wait();
}

void Team::help() const {
  Patience patience;
  while (!over_.load(std::memory_order_acquire)) {
    size_t part = 0;
    if (!take(&part)) {
      patience.wait();
      continue;
    }
    work_(data_, part);
    done_.fetch_add(1, std::memory_order_release);
    patience = Patience();
  }
}

}  // namespace rrwkv
