// What a graph says of a node, by onnxruntime. All that raises here raises std::runtime_error.
#pragma once

#include <string>

#include "ort/values.h"
#include "weights/call.h"

namespace rrwkv {

class NodeInfo : public Call {
 public:
  NodeInfo(const Api& api, const OrtKernelInfo* info);

  using Call::whole_number;
  float number(const char* attribute) const override;
  // That the node has so many outputs.
  void expect_outputs(size_t count) const;

 protected:
  int64_t whole_number(const char* attribute) const override;

 private:
  void take(size_t place, const std::string& name);

  const Api& api_;
  const OrtKernelInfo* info_;
};

// "DecodeStep 'main'": what the node is called. Raises nothing.
std::string title_of(const Api& api, const char* operator_name, const OrtKernelInfo* info);

}  // namespace rrwkv
