// The threads of a module: a leader, which its host calls, and helpers, which the host starts, each in an instance of
// its own over the same memory.
#pragma once

#include <atomic>
#include <cstdint>

#include "exec/shared_work.h"
#include "exec/threads.h"

namespace rrwkv {

// Helpers take of what is shared what they come to: with none the leader does it all, in as many parts. They sleep
// between runs, and in a run that long has nothing for them.
class Team : public Threads {
 public:
  explicit Team(size_t count) : Threads(count) {}

  // leader() on the thread that calls, helped or not. Raises std::runtime_error if a helper failed.
  template <typename Leader>
  void lead(bool helped, const Leader& leader) {
    running_.store(helped);
    call();
    leader();
    running_.store(false);
  }

  // A helper's life, until `end`.
  void help();
  // Of all helpers' lives.
  void end();
  // What a helper's host says when an error has ended it.
  void fail();

 protected:
  void run(size_t parts, void (*work)(void*, size_t), void* data) const override;

 private:
  void call() const;
  void wait_for(size_t others) const;
  void rest();

  mutable SharedWork shared_;
  mutable std::atomic<uint32_t> calls_{0};  // where helpers sleep
  mutable std::atomic<bool> asleep_{false}, leader_sleeps_{false};
  std::atomic<bool> running_{false}, over_{false}, failed_{false};
};

}  // namespace rrwkv
