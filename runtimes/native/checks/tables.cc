// Holds every table of kernels that this processor can run to `scalar`, bit by bit, over odd sizes. Prints the tables
// that it tried, and what differs; its status is the number of functions that do, up to 100.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "exec/reading.h"
#include "kernels/kernels.h"
#include "model/matrix/blockwise.h"
#include "model/matrix/float_columns.h"
#include "model/matrix/int8_per_channel.h"

namespace rrwkv {
namespace {

using Values = std::vector<float>;
using Action = std::function<Values(const Kernels&)>;

// Work in parts, one after the other.
class OneByOne : public Threads {
 public:
  explicit OneByOne(size_t count) : Threads(count) {}

 protected:
  void run(size_t parts, void (*work)(void*, size_t), void* data) const override {
    for (size_t i = 0; i < parts; ++i) work(data, i);
  }
};

std::mt19937 chance(1);
int differing = 0;

Values some(size_t n, float most = 3) {
  std::uniform_real_distribution<float> of(-most, most);
  Values x(n);
  for (float& v : x) v = of(chance);
  return x;
}

template <typename Value>
std::vector<Value> whole(size_t n, int least, int most) {
  std::uniform_int_distribution<int> of(least, most);
  std::vector<Value> x(n);
  for (Value& v : x) v = static_cast<Value>(of(chance));
  return x;
}

void hold(const std::string& what, const Action& action) {
  const Values wanted = action(kernels_here("scalar"));
  for (const Kernels* table : tables_here()) {
    const Values found = action(*table);
    for (size_t i = 0; i < wanted.size(); ++i)
      if (std::memcmp(&found[i], &wanted[i], sizeof(float)) != 0) {
        std::printf("%s: %s: value %zu of %zu is %a, not %a\n", table->name, what.c_str(), i, wanted.size(), found[i],
                    wanted[i]);
        ++differing;
        break;
      }
  }
}

void hold_rows(size_t n) {
  const Values x = some(n), a = some(n), b = some(n), c = some(n), d = some(n), e = some(n), wide = some(n, 120);
  const auto with = [&](const Values& start, const auto& action) {
    return [&start, action](const Kernels& k) {
      Values y = start;
      action(k.rows, y.data());
      return y;
    };
  };
  const std::string of = " of " + std::to_string(n);
  hold("normalize" + of,
       with(x, [&](const RowKernels& k, float* y) { k.normalize(x.data(), a.data(), b.data(), 1e-5f, n, y); }));
  for (const float* recalled : {static_cast<const float*>(nullptr), c.data()})
    hold("mix" + of, with(x, [&, recalled](const RowKernels& k, float* y) {
           k.mix({x.data(), a.data(), recalled}, {b.data(), d.data(), e.data()}, n, y);
         }));
  hold("add" + of, with(x, [&](const RowKernels& k, float* y) { k.add(a.data(), n, y); }));
  hold("add_scaled" + of, with(x, [&](const RowKernels& k, float* y) { k.add_scaled(0.7f, a.data(), n, y); }));
  hold("square_relu" + of, with(x, [&](const RowKernels& k, float* y) { k.square_relu(n, y); }));
  hold("gate" + of, with(x, [&](const RowKernels& k, float* y) { k.gate(wide.data(), a.data(), n, y); }));
  hold("add_gated" + of,
       with(x, [&](const RowKernels& k, float* y) { k.add_gated(x.data(), wide.data(), a.data(), n, y); }));
  hold("tanh" + of, with(wide, [&](const RowKernels& k, float* y) { k.tanh(n, y); }));
  hold("sigmoid" + of, with(wide, [&](const RowKernels& k, float* y) { k.sigmoid(n, y); }));
  hold("exponentials" + of, with(wide, [&](const RowKernels& k, float* y) { k.exponentials(-200, 200, n, y); }));
  for (const bool stable : {false, true})
    hold(std::string("wkv, ") + (stable ? "stable" : "plain") + of, [&](const Kernels& k) {
      Values y(5 * n), exponent = some(0);
      const Values sums(2 * n, 1.5f);
      const Wkv w{n, stable, 1e-30f, 1e30f, a.data(), b.data()};
      k.rows.wkv(w, x.data(), c.data(), d.data(), {sums.data(), e.data()}, {0, n}, y.data(),
                 {y.data() + n, y.data() + 3 * n});
      return y;
    });
}

// Time-mix of a head of n.
void hold_heads(size_t n) {
  const Values r = some(n), w = some(n, 1), k = some(n), v = some(n), a = some(n), b = some(n), wide = some(n, 30);
  const Values S = some(n * n);
  const std::string of = " of " + std::to_string(n);
  const auto with = [&](const Values& start, const auto& action) {
    return [&start, action](const Kernels& table) {
      Values x = start;
      action(table, x.data());
      return x;
    };
  };
  hold("move" + of, with(k, [&, n](const Kernels& t, float* x) { t.rwkv6.move(a.data(), b.data(), n, x); }));
  hold("decay of RWKV-6" + of, with(wide, [&, n](const Kernels& t, float* x) { t.rwkv6.decay(a.data(), n, x); }));
  const DecayToken decaying{r.data(), w.data(), k.data(), v.data(), a.data()};
  hold("recurrence" + of, [&](const Kernels& table) {
    Values found((n + 2) * n);
    table.rwkv6.recurrence(decaying, n, S.data(), found.data(), found.data() + n * n);
    table.rwkv6.recurrence(decaying, n, found.data(), found.data(), found.data() + n * n + n);
    return found;
  });
  for (const float* gate : {static_cast<const float*>(nullptr), v.data()})
    hold("give of RWKV-6" + of, [&, gate](const Kernels& table) {
      Values y = wide, o(n);
      table.rwkv6.give({a.data(), b.data(), 64e-5f}, y.data(), gate, n, o.data());
      return o;
    });
  hold("rate" + of, with(wide, [&, n](const Kernels& t, float* x) { t.rwkv7.rate(a.data(), n, x); }));
  hold("decay" + of, with(wide, [&, n](const Kernels& t, float* x) { t.rwkv7.decay(a.data(), -0.6f, n, x); }));
  hold("blend" + of,
       with(v, [&, n](const Kernels& t, float* x) { t.rwkv7.blend(a.data(), b.data(), wide.data(), n, x); }));
  hold("keys" + of, [&](const Kernels& table) {
    Values found(3 * n);
    std::copy(k.begin(), k.end(), found.begin());
    table.rwkv7.keys({r.data(), v.data(), b.data(), 1e-12f}, a.data(), n, found.data(), found.data() + n,
                     found.data() + 2 * n);
    return found;
  });
  const DeltaToken token{r.data(), w.data(), k.data(), v.data(), a.data(), b.data()};
  hold("delta_rule" + of, [&](const Kernels& table) {
    Values found((n + 2) * n);
    table.rwkv7.delta_rule(token, n, S.data(), found.data(), found.data() + n * n);
    table.rwkv7.delta_rule(token, n, found.data(), found.data(), found.data() + n * n + n);
    return found;
  });
  hold("give" + of, [&](const Kernels& table) {
    Values y = wide, o(n);
    table.rwkv7.give({{a.data(), b.data(), 64e-5f}, w.data()}, token, y.data(), S.data(), n, o.data());
    return o;
  });
}

void hold_floats(size_t count, size_t n) {
  const Values x = some(std::max(count, n)), rows = some(count * n);
  const std::string of = " of " + std::to_string(count) + " x " + std::to_string(n);
  hold("sum_rows" + of, [&](const Kernels& k) {
    Values y(n);
    k.floats.sum_rows(x.data(), rows.data(), count, n, n, y.data());
    return y;
  });
  hold("multiply_rows" + of, [&](const Kernels& k) {
    Values y(count);
    k.floats.multiply_rows(x.data(), rows.data(), count, n, 128, y.data());
    return y;
  });
}

// One row, and then several.
void hold_matrix_as_read(const std::string& what, size_t inputs, size_t outputs,
                         const std::function<std::unique_ptr<Matrix>(const Kernels&)>& made) {
  constexpr size_t kRows = 39;
  const Values x = some(kRows * inputs);
  hold(what + " of " + std::to_string(inputs) + " x " + std::to_string(outputs), [&](const Kernels& k) {
    const std::unique_ptr<Matrix> matrix = made(k);
    const OneByOne threads(3);
    Values y((1 + kRows) * outputs);
    QuantizedActivations one, all;
    matrix->quantize(x.data(), one);
    const Product row{matrix.get(), &one, y.data()};
    multiply_row(&row, 1, matrix.get(), threads);
    matrix->quantize_rows(x.data(), kRows, all, threads);
    matrix->multiply_rows(all, kRows, threads, y.data() + outputs);
    return y;
  });
}

void hold_matrix(const std::string& what, size_t inputs, size_t outputs,
                 const std::function<std::unique_ptr<Matrix>(const Kernels&)>& made) {
  for (const Reading& how : kReadings) {
    read_as(how);
    hold_matrix_as_read(what + ", " + how.words + ",", inputs, outputs, made);
  }
}

// Tokens of which those that read in one way are the fastest.
void hold_trial() {
  const Reading& fastest = kReadings[kReadingCount - 1];
  for (int token = 0; token < 100; ++token) {
    const ReadingTrial trial(true);
    const auto begin = std::chrono::steady_clock::now();
    while (&reading() != &fastest && std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(2)) continue;
  }
  if (&reading() == &fastest) return;
  std::printf("the trial found %s the fastest, not %s\n", reading().words, fastest.words);
  ++differing;
}

void hold_matrices(size_t inputs, size_t outputs) {
  const Values scale = some(outputs, 0.1f), weights = some(inputs * outputs);
  const auto int8 = whole<int8_t>(inputs * outputs, -128, 127);
  const auto halves = whole<uint16_t>(inputs * outputs, 0, 0x7bff);
  const Int8PerChannel::Range range{0.02f, 117};
  for (const auto* given : {static_cast<const Int8PerChannel::Range*>(nullptr), &range})
    hold_matrix(given ? "int8, static" : "int8, dynamic", inputs, outputs, [&](const Kernels& k) {
      return std::make_unique<Int8PerChannel>(k, int8.data(), inputs, outputs, scale.data(), given);
    });
  hold_matrix("float16", inputs, outputs,
              [&](const Kernels& k) { return std::make_unique<Float16>(k, halves.data(), inputs, outputs); });
  hold_matrix("float32", inputs, outputs,
              [&](const Kernels& k) { return std::make_unique<Float32>(k, weights.data(), inputs, outputs); });
  for (const size_t block : {16, 32, 64, 128, 256}) {
    const size_t blocks = (inputs + block - 1) / block;
    const Values scales = some(outputs * blocks, 0.1f);
    const auto bytes = whole<uint8_t>(outputs * blocks * block, 0, 255);
    const auto weights_of = [&](size_t bits) {
      return BlockwiseWeights(bytes.data(), scales.data(), inputs, outputs, block, bits);
    };
    const std::string in = " in blocks of " + std::to_string(block);
    for (const size_t bits : {4, 8})
      hold_matrix(std::to_string(bits) + " bits" + in, inputs, outputs,
                  [&](const Kernels& k) { return std::make_unique<BlockwiseInt8>(k, weights_of(bits)); });
    hold_matrix("8 bits, floats" + in, inputs, outputs,
                [&](const Kernels& k) { return std::make_unique<BlockwiseFloat>(k, weights_of(8)); });
  }
}

int check() {
  for (const Kernels* table : tables_here()) std::printf("%s\n", table->name);
  for (const size_t n : {1, 7, 16, 24, 100, 768}) hold_rows(n);
  for (const size_t n : {1, 8, 24, 32, 64, 67, 128}) hold_heads(n);
  for (const size_t count : {1, 3, 16, 150}) hold_floats(count, 72);
  hold_floats(5, 300);
  for (const auto& [inputs, outputs] : {std::pair<size_t, size_t>{72, 130}, {5, 3}, {200, 72}, {48, 64}, {256, 4200}})
    hold_matrices(inputs, outputs);
  hold_trial();
  return std::min(differing, 100);
}

}  // namespace
}  // namespace rrwkv

int main() { return rrwkv::check(); }
