#include "wasm/embedding.h"

#include <cstring>

#include "kernels/scalar/vectors.h"

namespace rrwkv {
namespace {

class Singles : public Embedding {
 public:
  Singles(const float* weight, size_t C) : weight_(weight), C_(C) {}
  void look_up(size_t token, float* x) const override { std::memcpy(x, weight_ + token * C_, C_ * sizeof *x); }

 private:
  const float* weight_;
  size_t C_;
};

class Halves : public Embedding {
 public:
  Halves(const uint16_t* weight, size_t C) : weight_(weight), C_(C) {}
  void look_up(size_t token, float* x) const override {
    for (size_t c = 0; c < C_; ++c) x[c] = scalar::float_of_half(weight_[token * C_ + c]);
  }

 private:
  const uint16_t* weight_;
  size_t C_;
};

class Blocks : public Embedding {
 public:
  Blocks(const int8_t* weight, const float* scale, size_t C, size_t block)
      : weight_(weight), scale_(scale), C_(C), block_(block) {}
  void look_up(size_t token, float* x) const override {
    const int8_t* weight = weight_ + token * C_;
    const float* scale = scale_ + token * (C_ / block_);
    for (size_t c = 0; c < C_; ++c) x[c] = static_cast<float>(weight[c]) * scale[c / block_];
  }

 private:
  const int8_t* weight_;
  const float* scale_;
  size_t C_, block_;
};

}  // namespace

std::unique_ptr<Embedding> embedding_of(const Call& from, size_t C) {
  const std::string single = "embedding.single", half = "embedding.half", blocks = "embedding.weight8";
  const bool is_single = from.has(single), is_half = from.has(half);
  const std::string name = is_single ? single : is_half ? half : blocks;
  const Value& weight = from.constant(name);
  const int64_t channels = size(C);
  std::unique_ptr<Embedding> made;
  if (is_single || is_half) {
    expect_exactly(weight, name, is_single ? kFloat : kFloat16, {kAny, channels});
    if (is_single)
      made = std::make_unique<Singles>(static_cast<const float*>(weight.data), C);
    else
      made = std::make_unique<Halves>(static_cast<const uint16_t*>(weight.data), C);
  } else {
    expect_exactly(weight, name, kInt8, {kAny, kAny, kAny});
    const int64_t block = weight.shape[2];
    expect_exactly(weight, name, kInt8, {kAny, channels / block, block});
    if (channels % block) throw std::runtime_error(name + " is in blocks that do not divide its channels");
    const float* scale = from.values("embedding.scale", {weight.shape[0], channels / block});
    made = std::make_unique<Blocks>(static_cast<const int8_t*>(weight.data), scale, C, static_cast<size_t>(block));
  }
  made->tokens = static_cast<size_t>(weight.shape[0]);
  return made;
}

}  // namespace rrwkv
