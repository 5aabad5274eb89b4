#include "exec/shared_work.h"

namespace rrwkv {
namespace {

constexpr uint64_t kMostParts = 0xffff;

uint64_t parts_of(uint64_t ticket) { return ticket >> 16 & kMostParts; }
uint64_t taken_of(uint64_t ticket) { return ticket & kMostParts; }

}  // namespace

// Nobody can take a part of other work than the one that is open now: the ticket, which says its number, would have
// changed. And it stays until all parts that were taken are done.
void SharedWork::open(size_t parts, void (*work)(void*, size_t), void* data) {
  const uint64_t number = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  work_ = work;
  data_ = data;
  done_.store(0, std::memory_order_relaxed);
  ticket_.store(number << 32 | parts << 16 | 1);
}

bool SharedWork::is_open() const {
  const uint64_t ticket = ticket_.load();
  return taken_of(ticket) < parts_of(ticket);
}

bool SharedWork::take(size_t* part) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while (taken_of(ticket) < parts_of(ticket)) {
    *part = taken_of(ticket);
    if (ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) return true;
  }
  return false;
}

bool SharedWork::do_next() {
  size_t part = 0;
  if (!take(&part)) return false;
  work_(data_, part);
  return true;
}

size_t SharedWork::do_own() {
  work_(data_, 0);
  size_t own = 1;
  while (do_next()) ++own;
  return own;
}

}  // namespace rrwkv
