// Work in parts that threads take as they come.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace rrwkv {

class SharedWork {
 public:
  // work(data, i) for every i < parts, all others' work being done: one thread opens it, and the first part is its own.
  void open(size_t parts, void (*work)(void*, size_t), void* data);
  // Whether there are parts that nobody took.
  bool is_open() const;
  // The next part, done by the thread that asks; false if all are taken.
  bool do_next();
  // Parts of the one that opened it: the first, and then as many as there are. Returns how many.
  size_t do_own();
  // Says that a part is done, which is not of the one that opened the work.
  void add_done() { done_.fetch_add(1); }
  // How many are: a word that threads can wait at.
  const std::atomic<uint32_t>& done() const { return done_; }

 private:
  bool take(size_t* part);

  // Its number, how many parts it has, and how many of them are taken (32, 16 and 16 bits).
  std::atomic<uint64_t> ticket_{0};
  std::atomic<uint32_t> done_{0};
  void (*work_)(void*, size_t) = nullptr;
  void* data_ = nullptr;
};

}  // namespace rrwkv
