// A node of a graph: its inputs and outputs while it runs, and its session's threads.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "exec/threads.h"
#include "kernels/kernels.h"
#include "ort/node_info.h"

namespace rrwkv {

// A session's: how many threads it has, whether they may wait for work without sleep, and what computes.
struct Settings {
  size_t threads;
  bool spin;
  const Kernels* kernels;
};

class Node {
 public:
  Node(const Api& api, const Settings& settings) : api_(api), settings_(settings) {}
  virtual ~Node() = default;
  // Raises std::runtime_error.
  virtual void run(OrtKernelContext* context) const = 0;

 protected:
  Value value(OrtKernelContext* context, const Given& given) const {
    const OrtValue* found = nullptr;
    check(api_, api_.input(context, given.place, &found), "an input");
    return value_of(api_, found, given.name);
  }

  // An input's values, of this shape, ones apart.
  const float* input(OrtKernelContext* context, const Given& given, const Shape& shape) const {
    const Value found = value(context, given);
    expect(found, given.name, kFloat, shape);
    return static_cast<const float*>(found.data);
  }

  const float* input(OrtKernelContext* context, const Given& given, std::initializer_list<size_t> shape) const {
    return input(context, given, Shape(shape.begin(), shape.end()));
  }

  // From `least` to `most`.
  size_t whole_number(OrtKernelContext* context, const Given& given, size_t least, size_t most) const {
    const Value found = value(context, given);
    expect(found, given.name, kInt64, {});
    const int64_t number = *static_cast<const int64_t*>(found.data);
    if (number < 0 || static_cast<size_t>(number) < least || static_cast<size_t>(number) > most)
      throw std::runtime_error(given.name + " must be from " + std::to_string(least) + " to " + std::to_string(most) +
                               ", not " + std::to_string(number));
    return static_cast<size_t>(number);
  }

  float* output(OrtKernelContext* context, size_t place, const Shape& shape) const {
    OrtValue* made = nullptr;
    check(api_, api_.output(context, place, shape.data(), shape.size(), &made), "an output");
    void* data = nullptr;
    if (made) check(api_, api_.data(made, &data), "an output");
    if (!data && std::count(shape.begin(), shape.end(), 0) == 0)
      throw std::runtime_error("onnxruntime gives no memory for output " + std::to_string(place));
    return static_cast<float*>(data);
  }

  float* output(OrtKernelContext* context, size_t place, std::initializer_list<size_t> shape) const {
    return output(context, place, Shape(shape.begin(), shape.end()));
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
