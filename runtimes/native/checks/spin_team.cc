// Teams of threads that share work of all sizes, over and over, as runs do: every part is computed once, what one
// thread wrote all others see, an error reaches the one who leads, and teams of other threads do not meet. Built with
// -fsanitize=thread it also says where two threads use memory without order.
#include "exec/spin_team.h"

#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

namespace rrwkv {
namespace {

// A session's pool, with threads that come when they like: new ones for all that is shared. Some never come.
class Pool : public Threads {
 public:
  Pool(size_t count, size_t come) : Threads(count), come_(come) {}

 protected:
  void run(size_t parts, void (*work)(void*, size_t), void* data) const override {
    std::atomic<size_t> next{0};
    const auto help = [&] {
      for (size_t i; (i = next.fetch_add(1)) < parts;) work(data, i);
    };
    std::vector<std::thread> others;
    for (size_t i = 1; i < come_; ++i) others.emplace_back(help);
    help();
    for (std::thread& thread : others) thread.join();
  }

 private:
  size_t come_;
};

// A run: layer after layer, each of what the whole layer before it made.
bool computes(size_t count, size_t come, size_t layers) {
  constexpr size_t kWidth = 97;
  std::vector<uint64_t> values(kWidth, 1), next(kWidth), wanted(kWidth, 1);
  SpinTeam team(count);
  team.lead(Pool(count, come), [&] {
    for (size_t layer = 0; layer < layers; ++layer) {
      const size_t parts = 1 + layer % (2 * count);
      team.share_spans(parts, kWidth, 1, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) next[i] = 3 * values[i] + values[(7 * i + layer) % kWidth];
      });
      values.swap(next);
    }
  });
  for (size_t layer = 0; layer < layers; ++layer) {
    for (size_t i = 0; i < kWidth; ++i) next[i] = 3 * wanted[i] + wanted[(7 * i + layer) % kWidth];
    wanted.swap(next);
  }
  return values == wanted;
}

// What a part raises comes out of `lead`, after all parts are done; and the threads are free again.
bool raises(size_t count) {
  std::atomic<size_t> done{0};
  SpinTeam team(count);
  try {
    team.lead(Pool(count, count), [&] {
      team.share(count, [&](size_t i) {
        ++done;
        if (i % 2) throw std::runtime_error("a part");
      });
    });
  } catch (const std::runtime_error&) {
    return done == count;
  }
  return false;
}

int failures() {
  int failed = 0;
  for (size_t count : {2, 3, 7})
    for (size_t come = 1; come <= count; ++come) failed += !computes(count, come, 300);
  for (size_t count : {2, 5}) failed += !raises(count);
  std::atomic<int> apart{0};
  std::vector<std::thread> callers;
  for (size_t i = 0; i < 4; ++i) callers.emplace_back([&] { apart += !computes(2, 2, 300); });
  for (std::thread& caller : callers) caller.join();
  return failed + apart;
}

}  // namespace
}  // namespace rrwkv

int main() {
  const int failed = rrwkv::failures();
  std::printf("%d of the teams' checks failed\n", failed);
  return failed != 0;
}
