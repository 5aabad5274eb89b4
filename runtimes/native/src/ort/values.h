// Values that onnxruntime holds.
#pragma once

#include "ort/abi.h"
#include "weights/values.h"

namespace rrwkv {

// Raises std::runtime_error with onnxruntime's own error released.
inline void check(const Api& api, OrtStatus* status, const char* doing) {
  if (!status) return;
  api.release(status);
  throw std::runtime_error(std::string("onnxruntime refused: ") + doing);
}

// given: null for what is not there. Raises std::runtime_error.
Value value_of(const Api& api, const OrtValue* given, const std::string& name);

}  // namespace rrwkv
