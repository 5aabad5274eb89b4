#include "ort/values.h"

namespace rrwkv {

Value value_of(const Api& api, const OrtValue* given, const std::string& name) {
  if (!given) throw std::runtime_error("input " + name + " is not given");
  OrtShapeInfo* info = nullptr;
  check(api, api.shape(given, &info), "a value's shape");
  if (!info) throw std::runtime_error("onnxruntime gives no shape of " + name);
  Value value{};
  size_t rank = 0;
  OrtStatus* status = api.element_type(info, &value.type);
  if (!status) status = api.rank(info, &rank);
  if (!status) {
    value.shape.resize(rank);
    status = api.dims(info, value.shape.data(), rank);
  }
  api.release(info);
  check(api, status, "a value's shape");
  value.count = count_of(name, value.type, value.shape);
  void* data = nullptr;
  check(api, api.data(given, &data), "a value's data");
  value.data = data;
  return value;
}

}  // namespace rrwkv
