// The operators rrwkv::DecodeLayer and rrwkv::DecodeHead: a node of the graph as a `Layer` or a `Head`.
#pragma once

#include "layer.h"
#include "values.h"

namespace rrwkv {

class Node {
 public:
  explicit Node(const Api& api, size_t threads) : api_(api), threads_(threads) {}
  virtual ~Node() = default;
  // Raises std::runtime_error.
  virtual void run(OrtKernelContext* context) const = 0;

 protected:
  // The values of an input, of this many.
  const float* input(OrtKernelContext* context, size_t place, size_t count) const;
  float* output(OrtKernelContext* context, size_t place, const Shape& shape) const;

  Api api_;
  size_t threads_;
};

class LayerNode : public Node {
 public:
  LayerNode(const Api& api, const OrtKernelInfo* info, size_t threads);
  void run(OrtKernelContext* context) const override;

 private:
  struct Places {
    size_t x, time_before, channel_before, wkv, bank, key, mask;
  };

  LayerNode(const Api& api, const Inputs& inputs, float epsilon, size_t threads);

  Layer layer_;
  size_t channels_, key_size_;
  Places places_;
};

class HeadNode : public Node {
 public:
  HeadNode(const Api& api, const OrtKernelInfo* info, size_t threads);
  void run(OrtKernelContext* context) const override;

 private:
  HeadNode(const Api& api, const Inputs& inputs, float epsilon, size_t threads);

  Head head_;
  size_t x_;
};

}  // namespace rrwkv
