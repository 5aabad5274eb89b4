// What differs between the nodes of architectures: how time-mix is read, and what its state is called.
#pragma once

#include "weights/source.h"

namespace rrwkv {

// Reads what a node's layers have of their own, of which the first says what sizes the others must have.
class BlockReader {
 public:
  explicit BlockReader(const WeightSource& source) : of_(source) {}
  virtual ~BlockReader() = default;
  virtual std::unique_ptr<TimeMix> time_mix(size_t layer) const = 0;

 protected:
  const WeightSource& of_;
};

inline std::string prefix_of(size_t layer) { return "blocks." + std::to_string(layer) + "."; }

// state: the input of what time-mix keeps. receptance: whether channel-mix has one.
struct Architecture {
  const char* state;
  bool receptance;
  std::unique_ptr<BlockReader> (*reader)(const WeightSource&);
};

extern const Architecture kRWKV4, kRWKV5, kRWKV6, kRWKV7;

}  // namespace rrwkv
