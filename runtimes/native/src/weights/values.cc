#include "weights/values.h"

#include <algorithm>

namespace rrwkv {
namespace {

// Of ONNX's types, by their numbers: names, and sizes in bytes.
struct Kind {
  const char* name;
  size_t bytes;
};
constexpr Kind kKinds[] = {{"of no type", 1}, {"float32", 4}, {"uint8", 1},   {"int8", 1},
                           {"uint16", 2},     {"int16", 2},   {"int32", 4},   {"int64", 8},
                           {"string", 1},     {"bool", 1},    {"float16", 2}, {"float64", 8}};

const Kind& kind_of(int type) {
  const bool known = type > 0 && static_cast<size_t>(type) < sizeof kKinds / sizeof *kKinds;
  return kKinds[known ? type : 0];
}

// "float32 [2, 3]", and * for kAny.
std::string described(int type, const Shape& shape) {
  std::string text = kind_of(type).name + std::string(" [");
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i) text += ", ";
    text += shape[i] == kAny ? "*" : std::to_string(shape[i]);
  }
  return text + "]";
}

Shape without_ones(Shape shape) {
  shape.erase(std::remove(shape.begin(), shape.end(), 1), shape.end());
  return shape;
}

bool fits(const Shape& shape, const Shape& wanted) {
  const auto same = [](int64_t size, int64_t other) {
    return other == kAny ? size > 0 && size <= kLargest : size == other;
  };
  return shape.size() == wanted.size() && std::equal(shape.begin(), shape.end(), wanted.begin(), same);
}

void expect(const Value& value, const std::string& name, Element type, const Shape& shape, bool fit) {
  if (value.type != type || !fit)
    throw std::runtime_error(name + " must be " + described(type, shape) + ", not " +
                             described(value.type, value.shape));
  const size_t bytes = kind_of(type).bytes;
  if (value.count && (!value.data || reinterpret_cast<uintptr_t>(value.data) % bytes))
    throw std::runtime_error(name + " does not lie on a multiple of " + std::to_string(bytes) + " bytes");
}

}  // namespace

size_t count_of(const std::string& name, int type, const Shape& shape) {
  size_t count = 1;
  for (int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(count, size, &count))
      throw std::runtime_error(name + " has no size: " + described(type, shape));
  return count;
}

size_t bytes_of(const std::string& name, int type, const Shape& shape) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(count_of(name, type, shape), kind_of(type).bytes, &bytes))
    throw std::runtime_error(name + " has no size: " + described(type, shape));
  return bytes;
}

void expect(const Value& value, const std::string& name, Element type, const Shape& shape) {
  expect(value, name, type, shape, without_ones(value.shape) == without_ones(shape));
}

void expect_exactly(const Value& value, const std::string& name, Element type, const Shape& shape) {
  expect(value, name, type, shape, fits(value.shape, shape));
}

}  // namespace rrwkv
