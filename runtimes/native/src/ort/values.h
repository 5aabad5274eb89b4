// Values that onnxruntime holds, and what they must be: a graph comes from a file, and a wrong one must end in an error
// and not in another's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "ort/abi.h"

namespace rrwkv {

using Shape = std::vector<int64_t>;

// Of a shape that a value must have: any size from 1 on, to a largest one of which 16 may be counted in 32 bits.
constexpr int64_t kAny = -1, kLargest = 1 << 24;

struct Value {
  const void* data;
  int type;
  Shape shape;
  size_t count;  // of values
};

// Raises std::runtime_error with onnxruntime's own error released.
inline void check(const Api& api, OrtStatus* status, const char* doing) {
  if (!status) return;
  api.release(status);
  throw std::runtime_error(std::string("onnxruntime refused: ") + doing);
}

// given: null for what is not there. Raises std::runtime_error, as all that follow.
Value value_of(const Api& api, const OrtValue* given, const std::string& name);

// That the value is of this type and shape and lies where the type may. Ones do not count: a row [1, C] is as good as
// [C].
void expect(const Value& value, const std::string& name, OrtElement type, const Shape& shape);

// The same, ones and kAny as they are.
void expect_exactly(const Value& value, const std::string& name, OrtElement type, const Shape& shape);

}  // namespace rrwkv
