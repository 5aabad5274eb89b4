// A node's inputs by the names that its attribute `inputs` gives them, each held against the shape it must have: a
// graph comes from a file, and a wrong one must end in an error and not in another's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "onnxruntime_abi.h"

namespace rrwkv {

using Shape = std::vector<int64_t>;

struct Value {
  const void* data;
  int type;
  Shape shape;

  size_t count() const {
    size_t product = 1;
    for (int64_t d : shape) product *= static_cast<size_t>(d);
    return product;
  }
};

// Raises std::runtime_error with onnxruntime's own error released.
inline void check(const Api& api, OrtStatus* status, const char* doing) {
  if (!status) return;
  api.release(status);
  throw std::runtime_error(std::string("onnxruntime refused: ") + doing);
}

inline Value value_of(const Api& api, const OrtValue* given) {
  OrtShapeInfo* info = nullptr;
  check(api, api.shape(given, &info), "a value's shape");
  Value value{};
  size_t rank = 0;
  OrtStatus* status = api.element_type(info, &value.type);
  if (!status) status = api.rank(info, &rank);
  value.shape.resize(rank);
  if (!status) status = api.dims(info, value.shape.data(), rank);
  api.release(info);
  check(api, status, "a value's shape");
  void* data = nullptr;
  check(api, api.data(given, &data), "a value's data");
  value.data = data;
  return value;
}

// The constants of a node, the places of its other inputs, and its attributes.
class Inputs {
 public:
  Inputs(const Api& api, const OrtKernelInfo* info) : api_(api), info_(info) {
    const std::vector<std::string> names = split(text("inputs"));
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i].empty()) continue;
      int is_constant = 0;
      const OrtValue* given = nullptr;
      check(api_, api_.constant(info_, i, &is_constant, &given), "an input");
      places_[names[i]] = i;
      if (is_constant) constants_[names[i]] = value_of(api_, given);
    }
  }

  std::string text(const char* name) const {
    size_t size = 0;
    if (OrtStatus* status = api_.attribute(info_, name, static_cast<char*>(nullptr), &size)) api_.release(status);
    std::string found(size, '\0');
    check(api_, api_.attribute(info_, name, found.data(), &size), name);
    found.resize(size ? size - 1 : 0);
    return found;
  }

  // An attribute.
  template <typename T>
  T number(const char* name) const {
    T value = 0;
    check(api_, api_.attribute(info_, name, &value), name);
    return value;
  }

  bool has(const std::string& name) const { return places_.count(name) != 0; }

  size_t place(const std::string& name) const {
    const auto found = places_.find(name);
    if (found == places_.end()) throw std::runtime_error("input " + name + " is missing");
    return found->second;
  }

  const Value& constant(const std::string& name) const {
    const auto found = constants_.find(name);
    if (found == constants_.end()) throw std::runtime_error("input " + name + " must be a constant");
    return found->second;
  }

  // A constant's values, of this many and this type.
  template <typename T>
  const T* values(const std::string& name, size_t count, OrtElement type = kFloat) const {
    const Value& value = constant(name);
    if (value.type != type || value.count() != count) throw std::runtime_error("input " + name + " has another shape");
    return static_cast<const T*>(value.data);
  }

 private:
  static std::vector<std::string> split(const std::string& list) {
    std::vector<std::string> names(1);
    for (char c : list) {
      if (c == ',')
        names.emplace_back();
      else
        names.back() += c;
    }
    return names;
  }

  const Api& api_;
  const OrtKernelInfo* info_;
  std::map<std::string, size_t> places_;
  std::map<std::string, Value> constants_;
};

}  // namespace rrwkv
