// Reading memory before it is needed.
#pragma once

#include <algorithm>
#include <cstddef>

namespace rrwkv {

// Memory that is read: rows of so many bytes, a stride apart.
struct MemoryRange {
  const char* begin = nullptr;
  size_t bytes = 0, rows = 1, stride = 0;
};

enum class Cache { kFirst, kSecond };

// Fetches a range, line by line.
class Fetch {
 public:
  Fetch() = default;
  Fetch(const MemoryRange& range, size_t most) : left_(range), most_(range.bytes ? most : 0) {}

  // The next line; false when there is none.
  template <Cache kTo>
  bool line() {
    if (most_ == 0) return false;
    if constexpr (kTo == Cache::kFirst)
      __builtin_prefetch(left_.begin + at_, 0, 3);
    else
      __builtin_prefetch(left_.begin + at_, 0, 2);
    at_ += kLine;
    most_ -= std::min(most_, kLine);
    if (at_ < left_.bytes) return true;
    at_ = 0;
    left_.begin += left_.stride;
    if (--left_.rows == 0) most_ = 0;
    return true;
  }

 private:
  static constexpr size_t kLine = 64;
  MemoryRange left_;
  size_t most_ = 0, at_ = 0;
};

}  // namespace rrwkv
