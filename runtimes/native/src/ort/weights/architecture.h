// What differs between the nodes of architectures: how the two blocks of a layer are read, and what a state is called.
#pragma once

#include "ort/weights/source.h"

namespace rrwkv {

// Reads the blocks of a node's layers, of which the first says what sizes the others must have.
class BlockReader {
 public:
  explicit BlockReader(const WeightSource& source) : of_(source) {}
  virtual ~BlockReader() = default;
  virtual std::unique_ptr<TimeMix> time_mix(size_t layer) const = 0;
  virtual std::unique_ptr<ChannelMix> channel_mix(size_t layer) const = 0;

 protected:
  const WeightSource& of_;
};

inline std::string prefix_of(size_t layer) { return "blocks." + std::to_string(layer) + "."; }

// state: the input of what time-mix keeps.
struct Architecture {
  const char* state;
  std::unique_ptr<BlockReader> (*reader)(const WeightSource&);
};

extern const Architecture kRWKV4, kRWKV7;

}  // namespace rrwkv
