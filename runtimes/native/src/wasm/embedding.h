// Tokens to what a model begins with: what a graph does before the call.
#pragma once

#include <memory>

#include "weights/call.h"

namespace rrwkv {

class Embedding {
 public:
  virtual ~Embedding() = default;
  // Of a token below `tokens`: x [C].
  virtual void look_up(size_t token, float* x) const = 0;
  size_t tokens = 0;
};

// Of C channels: "embedding.single" float32 or ".half" float16 [V, C], or ".weight8" int8 [V, blocks, block] and
// ".scale" [V, blocks, 1]. Raises std::runtime_error.
std::unique_ptr<Embedding> embedding_of(const Call& from, size_t C);

}  // namespace rrwkv
