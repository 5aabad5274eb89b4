// How the rows of a matrix are read by one token. What is fastest differs between processors, and no sum depends on it:
// so it is tried, by the first tokens of the first large model of a process.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>

namespace rrwkv {

constexpr size_t kStreams = 4;

// Four rows at a time.
struct Reading {
  bool streams;       // each a quarter of all rows behind the one before; or rows that follow each other
  size_t ahead;       // bytes of each that are fetched before they are multiplied
  const char* words;  // of it, for people

  // Of `rows`: how many lie between one of the four and the next, and between these four and the next four.
  size_t apart(size_t rows) const { return streams ? rows / kStreams : 1; }
  size_t step() const { return streams ? 1 : kStreams; }
  // What is fetched while the n-th byte of a row is multiplied: after its end, the begin of the row `step` bytes on.
  const char* ahead_of(const void* row, size_t n, size_t bytes, size_t step) const {
    return static_cast<const char*>(row) + n + ahead + (n + ahead < bytes ? 0 : step - bytes);
  }
};

inline constexpr Reading kReadings[] = {
    {true, 512, "four streams, 512 bytes ahead"},
    {true, 1024, "four streams, 1024 bytes ahead"},
    {false, 512, "rows that follow each other, 512 bytes ahead"},
    {false, 1024, "rows that follow each other, 1024 bytes ahead"},
};
constexpr size_t kReadingCount = sizeof kReadings / sizeof *kReadings;

// The one of this process; and another.
const Reading& reading();
void read_as(const Reading& how);

// Around a token of a large model: as long as it is not known which is the fastest, one of them in turn.
class ReadingTrial {
 public:
  explicit ReadingTrial(bool large);
  ~ReadingTrial();
  ReadingTrial(const ReadingTrial&) = delete;
  ReadingTrial& operator=(const ReadingTrial&) = delete;

 private:
  bool tried_ = false;  // this token is one of those that are measured: no other is meanwhile
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace rrwkv
