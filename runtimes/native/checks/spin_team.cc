// Teams of threads that share work of all sizes, over and over, as runs do: every part is computed once, what one
// thread wrote all others see, an error reaches the one who leads, and teams of other threads do not meet. Built with
// -fsanitize=thread it also says where two threads use memory without order. The same of a module's team, whose helpers
// come and stay.
#include "exec/spin_team.h"

#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

#include "wasm/team.h"

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
void run(const Threads& team, size_t layers, std::vector<uint64_t>& values) {
  std::vector<uint64_t> next(values.size());
  for (size_t layer = 0; layer < layers; ++layer) {
    const size_t parts = 1 + layer % (2 * team.count);
    team.share_spans(parts, values.size(), 1, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) next[i] = 3 * values[i] + values[(7 * i + layer) % values.size()];
    });
    values.swap(next);
  }
}

// One thread.
class Alone : public Pool {
 public:
  Alone() : Pool(1, 1) {}
};

bool computes(size_t count, size_t come, size_t layers) {
  std::vector<uint64_t> values(97, 1), wanted(97, 1);
  SpinTeam team(count);
  team.lead(Pool(count, come), [&] { run(team, layers, values); });
  run(Alone(), layers, wanted);
  return values == wanted;
}

// Runs of a module one after the other, with the help of those that are there or without.
bool computes_in_module(size_t count, size_t come, size_t runs) {
  std::vector<uint64_t> values(97, 1), wanted(97, 1);
  Team team(count);
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < come; ++i) helpers.emplace_back([&] { team.help(); });
  for (size_t i = 0; i < runs; ++i) {
    team.lead(i % 3 != 0, [&] { run(team, 40, values); });
    run(Alone(), 40, wanted);
  }
  team.end();
  for (std::thread& helper : helpers) helper.join();
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
    for (size_t come = 1; come <= count; ++come)
      failed += !computes(count, come, 300) + !computes_in_module(count, come, 30);
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
