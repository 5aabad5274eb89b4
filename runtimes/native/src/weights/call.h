// What a graph says of a call that a kernel takes: its inputs by the names that its attribute `inputs` gives them, and
// its other attributes. All that raises here raises std::runtime_error.
#pragma once

#include <map>
#include <string>

#include "weights/values.h"

namespace rrwkv {

// An input that may differ from run to run.
struct Given {
  std::string name;
  size_t place;
};

class Call {
 public:
  virtual ~Call() = default;
  virtual float number(const char* attribute) const = 0;
  // From `least` to `most`.
  int64_t whole_number(const char* attribute, int64_t least, int64_t most) const;

  bool has(const std::string& name) const { return places_.count(name) != 0; }
  Given given(const std::string& name) const;
  // An input that is part of the graph.
  const Value& constant(const std::string& name) const;
  // Its values, of this type and shape, ones apart.
  template <typename T = float>
  const T* values(const std::string& name, const Shape& shape, Element type = kFloat) const {
    const Value& value = constant(name);
    expect(value, name, type, shape);
    return static_cast<const T*>(value.data);
  }

  // How many values the constant is of, from 1 on.
  size_t size_of(const std::string& name) const;

 protected:
  void add(size_t place, const std::string& name);
  void add_constant(const std::string& name, Value value) { constants_.emplace(name, std::move(value)); }
  virtual int64_t whole_number(const char* attribute) const = 0;

 private:
  std::map<std::string, size_t> places_;
  std::map<std::string, Value> constants_;
};

}  // namespace rrwkv
