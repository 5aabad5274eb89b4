// A thread's products of whole numbers of many rows.
#pragma once

#include "kernels/kernels.h"

namespace rrwkv {

// Makes what multiplies them ready for this thread, as long as it lives: the processor's matrix unit is.
class Tiles {
 public:
  // depth: how many values a dot is of.
  explicit Tiles(const TileKernels& kernels, size_t depth = kDepth) : kernels_(kernels) { kernels_.begin(depth); }
  ~Tiles() { kernels_.end(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  const TileKernels& operator*() const { return kernels_; }
  const TileKernels* operator->() const { return &kernels_; }

 private:
  const TileKernels& kernels_;
};

}  // namespace rrwkv
