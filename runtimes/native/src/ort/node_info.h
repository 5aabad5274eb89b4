// What a graph says of a node: its inputs by the names that its attribute `inputs` gives them, its other attributes,
// and how many outputs it has. All that raises here raises std::runtime_error.
#pragma once

#include <map>
#include <string>

#include "ort/values.h"

namespace rrwkv {

// An input that may differ from run to run.
struct Given {
  std::string name;
  size_t place;
};

class NodeInfo {
 public:
  NodeInfo(const Api& api, const OrtKernelInfo* info);

  float number(const char* attribute) const;
  // From `least` to `most`.
  int64_t whole_number(const char* attribute, int64_t least, int64_t most) const;

  bool has(const std::string& name) const { return places_.count(name) != 0; }
  Given given(const std::string& name) const;
  // An input that is part of the graph.
  const Value& constant(const std::string& name) const;
  // Its values, of this type and shape, ones apart.
  template <typename T = float>
  const T* values(const std::string& name, const Shape& shape, OrtElement type = kFloat) const {
    const Value& value = constant(name);
    expect(value, name, type, shape);
    return static_cast<const T*>(value.data);
  }

  // How many values the constant is of, from 1 on.
  size_t size_of(const std::string& name) const;

  // That the node has so many outputs.
  void expect_outputs(size_t count) const;

 private:
  void add(size_t place, const std::string& name);

  const Api& api_;
  const OrtKernelInfo* info_;
  std::map<std::string, size_t> places_;
  std::map<std::string, Value> constants_;
};

// "DecodeStep 'main'": what the node is called. Raises nothing.
std::string title_of(const Api& api, const char* operator_name, const OrtKernelInfo* info);

}  // namespace rrwkv
