#include "kernels/lanes/rwkv7.h"

#include <algorithm>
#include <cmath>

#include "kernels/scalar/scalar.h"

namespace rrwkv::scalar {
namespace {

using lanes::kLanes;

// Sixteen floats, as arithmetic of one at a time has them.
struct Floats {
  float lane[kLanes];

  static Floats all(float value) {
    Floats x;
    std::fill_n(x.lane, kLanes, value);
    return x;
  }
  static Floats load(const float* from) {
    Floats x;
    std::copy_n(from, kLanes, x.lane);
    return x;
  }
  static Floats load(const float* from, size_t count) {
    Floats x = all(0);
    std::copy_n(from, count, x.lane);
    return x;
  }
  void store(float* to) const { std::copy_n(lane, kLanes, to); }
  void store(float* to, size_t count) const { std::copy_n(lane, count, to); }
};

template <typename Action>
Floats each_lane(const Action& action) {
  Floats x;
  for (size_t i = 0; i < kLanes; ++i) x.lane[i] = action(i);
  return x;
}

Floats operator+(const Floats& a, const Floats& b) {
  return each_lane([&](size_t i) { return a.lane[i] + b.lane[i]; });
}
Floats operator-(const Floats& a, const Floats& b) {
  return each_lane([&](size_t i) { return a.lane[i] - b.lane[i]; });
}
Floats operator*(const Floats& a, const Floats& b) {
  return each_lane([&](size_t i) { return a.lane[i] * b.lane[i]; });
}
Floats operator/(const Floats& a, const Floats& b) {
  return each_lane([&](size_t i) { return a.lane[i] / b.lane[i]; });
}
Floats fma(const Floats& a, const Floats& b, const Floats& c) {
  return each_lane([&](size_t i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
// The second one where either is no number.
Floats max(const Floats& a, const Floats& b) {
  return each_lane([&](size_t i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
Floats min(const Floats& a, const Floats& b) {
  return each_lane([&](size_t i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
// x 2^m, of a whole m.
Floats times_power_of_two(const Floats& x, const Floats& m) {
  return each_lane([&](size_t i) {
    const float power = m.lane[i];
    return power == power ? std::ldexp(x.lane[i], static_cast<int>(power)) : power;
  });
}

// By halves.
float sum(Floats x) {
  for (size_t half = kLanes / 2; half; half /= 2)
    for (size_t i = 0; i < half; ++i) x.lane[i] += x.lane[i + half];
  return x.lane[0];
}

}  // namespace

const RWKV7Kernels kRWKV7Kernels = lanes::RWKV7<Floats>::kTable;

}  // namespace rrwkv::scalar
