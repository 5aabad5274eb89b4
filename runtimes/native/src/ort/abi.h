// The part of onnxruntime's C interface that a library of operators needs, declared here because no package brings its
// header. The interface is stable: OrtApi is a table of functions that only grows at its end, and OrtCustomOp says
// which version it was written for. Places and layouts are those of onnxruntime_c_api.h, version 1.20 and later.
#pragma once

#include <cstddef>
#include <cstdint>

#include "weights/values.h"

extern "C" {

struct OrtStatus;
struct OrtValue;
struct OrtShapeInfo;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtShapeInferContext;

struct OrtApiBase {
  const void* const* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

using OrtElement = rrwkv::Element;
enum OrtArity : int { kRequired = 0, kOptional = 1, kVariadic = 2 };

struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const void* api, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  OrtElement (*GetInputType)(const OrtCustomOp*, size_t);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  OrtElement (*GetOutputType)(const OrtCustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void* kernel, OrtKernelContext*);
  void (*KernelDestroy)(void* kernel);
  OrtArity (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
  OrtArity (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const void* api, const OrtKernelInfo*, void** kernel);
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
  size_t (*GetMayInplace)(int** inputs, int** outputs);
  void (*ReleaseMayInplace)(int* inputs, int* outputs);
  size_t (*GetAliasMap)(int** inputs, int** outputs);
  void (*ReleaseAliasMap)(int* inputs, int* outputs);
};

}  // extern "C"

namespace rrwkv {

constexpr uint32_t kApiVersion = 20;

// OrtApi's functions by their places in the table.
class Api {
 public:
  explicit Api(const OrtApiBase* base) : table_(base->GetApi(kApiVersion)) {}
  explicit operator bool() const { return table_ != nullptr; }

  OrtStatus* create_status(int code, const char* message) const { return at<0, OrtStatus*>(code, message); }
  OrtStatus* create_domain(const char* name, OrtCustomOpDomain** domain) const {
    return at<26, OrtStatus*>(name, domain);
  }
  OrtStatus* add_op(OrtCustomOpDomain* domain, const OrtCustomOp* op) const { return at<27, OrtStatus*>(domain, op); }
  OrtStatus* add_domain(OrtSessionOptions* options, OrtCustomOpDomain* domain) const {
    return at<28, OrtStatus*>(options, domain);
  }
  OrtStatus* data(const OrtValue* value, void** data) const { return at<51, OrtStatus*>(value, data); }
  OrtStatus* element_type(const OrtShapeInfo* info, int* type) const { return at<60, OrtStatus*>(info, type); }
  OrtStatus* rank(const OrtShapeInfo* info, size_t* rank) const { return at<61, OrtStatus*>(info, rank); }
  OrtStatus* dims(const OrtShapeInfo* info, int64_t* dims, size_t rank) const {
    return at<62, OrtStatus*>(info, dims, rank);
  }
  OrtStatus* shape(const OrtValue* value, OrtShapeInfo** info) const { return at<65, OrtStatus*>(value, info); }
  OrtStatus* attribute(const OrtKernelInfo* info, const char* name, float* value) const {
    return at<85, OrtStatus*>(info, name, value);
  }
  OrtStatus* attribute(const OrtKernelInfo* info, const char* name, int64_t* value) const {
    return at<86, OrtStatus*>(info, name, value);
  }
  OrtStatus* attribute(const OrtKernelInfo* info, const char* name, char* value, size_t* size) const {
    return at<87, OrtStatus*>(info, name, value, size);
  }
  OrtStatus* input(const OrtKernelContext* context, size_t i, const OrtValue** value) const {
    return at<90, OrtStatus*>(context, i, value);
  }
  OrtStatus* output(OrtKernelContext* context, size_t i, const int64_t* dims, size_t rank, OrtValue** value) const {
    return at<91, OrtStatus*>(context, i, dims, rank, value);
  }
  void release(OrtStatus* status) const { at<93, void>(status); }
  void release(OrtShapeInfo* info) const { at<99, void>(info); }
  OrtStatus* input_count(const OrtKernelInfo* info, size_t* count) const { return at<230, OrtStatus*>(info, count); }
  OrtStatus* output_count(const OrtKernelInfo* info, size_t* count) const { return at<231, OrtStatus*>(info, count); }
  OrtStatus* input_name(const OrtKernelInfo* info, size_t i, char* name, size_t* size) const {
    return at<232, OrtStatus*>(info, i, name, size);
  }
  OrtStatus* setting(const OrtSessionOptions* options, const char* key, char* value, size_t* size) const {
    return at<238, OrtStatus*>(options, key, value, size);
  }
  OrtStatus* node_name(const OrtKernelInfo* info, char* name, size_t* size) const {
    return at<244, OrtStatus*>(info, name, size);
  }
  OrtStatus* constant(const OrtKernelInfo* info, size_t i, int* is_constant, const OrtValue** value) const {
    return at<249, OrtStatus*>(info, i, is_constant, value);
  }
  OrtStatus* share(const OrtKernelContext* context, void (*work)(void*, size_t), size_t parts, void* data) const {
    return at<274, OrtStatus*>(context, work, parts, size_t{0}, data);
  }

 private:
  template <size_t kPlace, typename Result, typename... Arguments>
  Result at(Arguments... arguments) const {
    return reinterpret_cast<Result (*)(Arguments...)>(const_cast<void*>(table_[kPlace]))(arguments...);
  }

  const void* const* table_;
};

}  // namespace rrwkv
