// Sharing work between threads.
#pragma once

#include <cstddef>

#include "fetch.h"

namespace rrwkv {

struct Span {
  size_t begin, end;
};

// The i-th of `parts` parts of 0 .. n, each but the last a multiple of `unit`; those that are too many are empty.
inline Span part_of(size_t i, size_t parts, size_t n, size_t unit) {
  const size_t units = (n + unit - 1) / unit, begin = units * i / parts * unit, end = units * (i + 1) / parts * unit;
  return {begin < n ? begin : n, end < n ? end : n};
}

// Threads that share work; in a session, onnxruntime's own.
class Threads {
 public:
  explicit Threads(size_t count) : count(count) {}
  virtual ~Threads() = default;

  // work(i) for every i < parts; back when all are done.
  template <typename Work>
  void share(size_t parts, const Work& work) const {
    if (parts == 1) return work(0);
    run(parts, [](void* of, size_t i) { (*static_cast<const Work*>(of))(i); }, const_cast<Work*>(&work));
  }

  // work(begin, end) over 0 .. n in so many parts, each but the last a multiple of `unit`.
  template <typename Work>
  void share_spans(size_t parts, size_t n, size_t unit, const Work& work) const {
    share(parts, [&](size_t i) {
      const auto [begin, end] = part_of(i, parts, n, unit);
      if (begin < n) work(begin, end);
    });
  }

  // What the thread that says so reads next: to be fetched while it waits for others.
  virtual void expect(const Stretch&) const {}

  const size_t count;

 protected:
  virtual void run(size_t parts, void (*work)(void*, size_t), void* data) const = 0;
};

}  // namespace rrwkv
