#include "wasm/host_call.h"

#include <algorithm>
#include <cmath>

namespace rrwkv {
namespace {

constexpr size_t kPage = 1 << 16;

bool begins(const std::string& name, const std::string& with) { return name.compare(0, with.size(), with) == 0; }
bool ends(const std::string& name, const std::string& with) {
  return name.size() >= with.size() && name.compare(name.size() - with.size(), with.size(), with) == 0;
}

size_t memory_bytes() { return __builtin_wasm_memory_size(0) * kPage; }

}  // namespace

void HostCall::set(const std::string& name, int type, const Shape& shape, const void* data, size_t bytes) {
  const auto at = reinterpret_cast<size_t>(data), all = memory_bytes();
  if (at > all || bytes > all - at) throw std::runtime_error(name + " does not lie in memory");
  const size_t wanted = bytes_of(name, type, shape);
  if (bytes != wanted)
    throw std::runtime_error(name + " has " + std::to_string(bytes) + " bytes, and its shape " +
                             std::to_string(wanted));
  if (!begins(name, "embedding.") && !ends(name, ".scale"))
    for (const int64_t dim : shape) widest_ = std::max(widest_, static_cast<size_t>(dim));
  add(count_++, name);
  add_constant(name, {data, type, shape, count_of(name, type, shape)});
}

double HostCall::attribute(const char* name) const {
  const auto found = attributes_.find(name);
  if (found == attributes_.end()) throw std::runtime_error(std::string("attribute ") + name + " is missing");
  return found->second;
}

float HostCall::number(const char* name) const { return static_cast<float>(attribute(name)); }

int64_t HostCall::whole_number(const char* name) const {
  const double value = attribute(name);
  if (!(std::abs(value) <= 0x1p53) || value != std::trunc(value))
    throw std::runtime_error(std::string("attribute ") + name + " must be a whole number");
  return static_cast<int64_t>(value);
}

}  // namespace rrwkv
