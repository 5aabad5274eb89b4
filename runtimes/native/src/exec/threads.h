// Sharing work between threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>

#include "exec/memory_range.h"
#include "exec/span.h"

namespace rrwkv {

// Threads that share work; in a session, onnxruntime's own.
class Threads {
  template <typename Action>
  struct Shared {
    explicit Shared(const Action& work) : work(work) {}
    void part(size_t i) noexcept {
      try {
        work(i);
      } catch (...) {
        if (!failed.test_and_set()) error = std::current_exception();
      }
    }

    const Action& work;
    std::atomic_flag failed = ATOMIC_FLAG_INIT;
    std::exception_ptr error;
  };

 public:
  explicit Threads(size_t count) : count(count) {}
  virtual ~Threads() = default;

  // work(i) for every i < parts; back when all are done. Raises what one of them raised.
  template <typename Action>
  void share(size_t parts, const Action& work) const {
    if (parts == 1) return work(0);
    Shared<Action> shared(work);
    run(parts, [](void* of, size_t i) { static_cast<Shared<Action>*>(of)->part(i); }, &shared);
    if (shared.error) std::rethrow_exception(shared.error);
  }

  // work(begin, end) over 0 .. n in so many parts, each but the last a multiple of `unit`.
  template <typename Action>
  void share_spans(size_t parts, size_t n, size_t unit, const Action& work) const {
    share(parts, [&](size_t i) {
      const auto [begin, end] = part_of(i, parts, n, unit);
      if (begin < n) work(begin, end);
    });
  }

  // What the thread that says so reads next: to be fetched while it waits for others.
  virtual void expect(const MemoryRange&) const {}

  const size_t count;

 protected:
  // work(data, i), which raises nothing.
  virtual void run(size_t parts, void (*work)(void*, size_t), void* data) const = 0;
};

}  // namespace rrwkv
