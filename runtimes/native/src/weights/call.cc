#include "weights/call.h"

namespace rrwkv {

void Call::add(size_t place, const std::string& name) {
  if (!places_.emplace(name, place).second) throw std::runtime_error("attribute inputs names " + name + " twice");
}

int64_t Call::whole_number(const char* attribute, int64_t least, int64_t most) const {
  const int64_t value = whole_number(attribute);
  if (value < least || value > most)
    throw std::runtime_error(std::string("attribute ") + attribute + " must be from " + std::to_string(least) + " to " +
                             std::to_string(most) + ", not " + std::to_string(value));
  return value;
}

Given Call::given(const std::string& name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) throw std::runtime_error("input " + name + " is missing");
  return {name, found->second};
}

const Value& Call::constant(const std::string& name) const {
  const auto found = constants_.find(name);
  if (found != constants_.end()) return found->second;
  throw std::runtime_error("input " + name + (has(name) ? " must be a constant" : " is missing"));
}

size_t Call::size_of(const std::string& name) const {
  const Value& value = constant(name);
  expect_exactly({value.data, value.type, {static_cast<int64_t>(value.count)}, value.count}, name, kFloat, {kAny});
  return value.count;
}

}  // namespace rrwkv
