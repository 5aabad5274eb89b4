// Values that a graph holds or is given, and what they must be: a graph comes from a file, and a wrong one must end in
// an error and not in another's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace rrwkv {

// ONNX's types that are asked for, by its numbers.
enum Element : int { kUndefined = 0, kFloat = 1, kUint8 = 2, kInt8 = 3, kInt64 = 7, kFloat16 = 10 };

using Shape = std::vector<int64_t>;

// Of a shape that a value must have: any size from 1 on, to a largest one of which 16 may be counted in 32 bits.
constexpr int64_t kAny = -1, kLargest = 1 << 24;

struct Value {
  const void* data;
  int type;
  Shape shape;
  size_t count;  // of values
};

inline int64_t size(size_t n) { return static_cast<int64_t>(n); }

// How many values a shape holds, and how many bytes those of a type take. Raise std::runtime_error, as all that follow.
size_t count_of(const std::string& name, int type, const Shape& shape);
size_t bytes_of(const std::string& name, int type, const Shape& shape);

// That the value is of this type and shape and lies where the type may. Ones do not count: a row [1, C] is as good as
// [C].
void expect(const Value& value, const std::string& name, Element type, const Shape& shape);

// The same, ones and kAny as they are.
void expect_exactly(const Value& value, const std::string& name, Element type, const Shape& shape);

}  // namespace rrwkv
