// A node of a graph: its inputs and outputs while it runs, and its session's threads.
#pragma once

#include "threads.h"
#include "values.h"

namespace rrwkv {

// A session's: how many threads it has, whether they may wait for work without sleep, and whether many rows are
// multiplied by the processor's matrix unit.
struct Settings {
  size_t threads;
  bool spin, amx;
};

class Node {
 public:
  Node(const Api& api, const Settings& settings) : api_(api), settings_(settings) {}
  virtual ~Node() = default;
  // Raises std::runtime_error.
  virtual void run(OrtKernelContext* context) const = 0;

 protected:
  Value value(OrtKernelContext* context, size_t place) const {
    const OrtValue* given = nullptr;
    check(api_, api_.input(context, place, &given), "an input");
    return value_of(api_, given);
  }

  // The values of an input, of this many.
  const float* input(OrtKernelContext* context, size_t place, size_t count) const {
    const Value found = value(context, place);
    if (found.type != kFloat || found.count() != count) throw std::runtime_error("an input has another shape");
    return static_cast<const float*>(found.data);
  }

  int64_t whole_number(OrtKernelContext* context, size_t place) const {
    const Value found = value(context, place);
    if (found.type != kInt64 || found.count() != 1) throw std::runtime_error("an input has another shape");
    return *static_cast<const int64_t*>(found.data);
  }

  float* output(OrtKernelContext* context, size_t place, const Shape& shape) const {
    OrtValue* made = nullptr;
    check(api_, api_.output(context, place, shape.data(), shape.size(), &made), "an output");
    void* data = nullptr;
    check(api_, api_.data(made, &data), "an output");
    return static_cast<float*>(data);
  }

  Api api_;
  Settings settings_;
};

// onnxruntime's threads of the session that the node runs in.
class SessionThreads : public Threads {
 public:
  SessionThreads(const Api& api, OrtKernelContext* context, size_t count)
      : Threads(count), api_(api), context_(context) {}

 protected:
  void run(size_t parts, void (*work)(void*, size_t), void* data) const override {
    check(api_, api_.share(context_, work, parts, data), "its threads");
  }

 private:
  const Api& api_;
  OrtKernelContext* context_;
};

}  // namespace rrwkv
