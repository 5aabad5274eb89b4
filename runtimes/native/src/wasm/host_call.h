// What a graph says of a call, as the module's host has read it.
#pragma once

#include "weights/call.h"

namespace rrwkv {

// All that raises here raises std::runtime_error.
class HostCall : public Call {
 public:
  using Call::whole_number;
  float number(const char* attribute) const override;

  void set(const std::string& attribute, double value) { attributes_[attribute] = value; }
  // An input that may differ from run to run.
  void name(const std::string& input) { add(count_++, input); }
  // A constant of so many bytes, in this module's memory.
  void set(const std::string& name, int type, const Shape& shape, const void* data, size_t bytes);
  // The largest size of what a run computes with: of all constants but the embedding, of which it looks up rows, and
  // scales, whose matrices say it; 1 at least.
  size_t widest() const { return widest_; }

 protected:
  int64_t whole_number(const char* attribute) const override;

 private:
  double attribute(const char* name) const;

  std::map<std::string, double> attributes_;
  size_t count_ = 0, widest_ = 1;
};

}  // namespace rrwkv
