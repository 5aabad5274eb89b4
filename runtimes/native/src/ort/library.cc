// What onnxruntime loads: SessionOptions.register_custom_ops_library gives RegisterCustomOps the session's options.
//
// The operators are rrwkv::DecodeStep, one token, rrwkv::Prefill, any number of them, and for graphs of which no more
// can be computed rrwkv::GatedWKV: of RWKV-4. Those of other architectures are called after them.
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "exec/reading.h"
#include "kernels/kernels.h"
#include "ort/model_node.h"
#include "ort/wkv_node.h"

namespace rrwkv {
namespace {

constexpr size_t kMostThreads = 1024;

struct Op : OrtCustomOp {
  Api api;
  const char* name;
  Settings settings;
  std::unique_ptr<Node> (*make)(const Api&, const OrtKernelInfo*, const Settings&);
};

const Op& self(const OrtCustomOp* op) { return *static_cast<const Op*>(op); }

template <typename Action>
OrtStatus* guarded(const Api& api, Action action) {
  constexpr int kFail = 1;
  try {
    action();
    return nullptr;
  } catch (const std::exception& error) {
    return api.create_status(kFail, error.what());
  } catch (...) {
    return api.create_status(kFail, "an error of no known kind");
  }
}

struct Kernel {
  Api api;
  std::unique_ptr<Node> node;
};

OrtStatus* create(const OrtCustomOp* op, const void*, const OrtKernelInfo* info, void** kernel) {
  const Op& of = self(op);
  *kernel = nullptr;
  return guarded(of.api, [&] {
    try {
      *kernel = new Kernel{of.api, of.make(of.api, info, of.settings)};
    } catch (const std::runtime_error& error) {  // onnxruntime itself says which node only of one that runs
      throw std::runtime_error(title_of(of.api, of.name, info) + ": " + error.what());
    }
  });
}

OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  const auto& of = *static_cast<Kernel*>(kernel);
  return guarded(of.api, [&] { of.node->run(context); });
}

template <typename Kind>
std::unique_ptr<Node> make(const Api& api, const OrtKernelInfo* info, const Settings& settings) {
  return std::make_unique<Kind>(api, info, settings);
}

template <typename Kind, const Architecture& kOf>
std::unique_ptr<Node> make(const Api& api, const OrtKernelInfo* info, const Settings& settings) {
  return std::make_unique<Kind>(api, info, settings, kOf);
}

// One input and one output are declared, each as many values as a node has; inputs of several types.
Op op_of(const Api& api, const char* name, const Settings& settings, decltype(Op::make) make) {
  Op op{{}, api, name, settings, make};
  op.version = kApiVersion;
  op.GetName = [](const OrtCustomOp* of) { return self(of).name; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
  op.GetInputType = [](const OrtCustomOp*, size_t) { return kUndefined; };
  op.GetInputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
  op.GetOutputType = [](const OrtCustomOp*, size_t) { return kFloat; };
  op.GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
  op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  op.GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return kVariadic; };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return kVariadic; };
  op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };
  op.GetVariadicInputMinArity = [](const OrtCustomOp*) { return 1; };
  op.GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
  op.GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
  op.CreateKernelV2 = create;
  op.KernelComputeV2 = compute;
  op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
  op.GetEndVersion = [](const OrtCustomOp*) { return 1; };
  return op;
}

std::string setting(const Api& api, const OrtSessionOptions* options, const char* key) {
  char text[64] = "";
  size_t size = sizeof text;
  if (OrtStatus* status = api.setting(options, key, text, &size)) api.release(status);
  return text;
}

// What a session's options do not tell, whoever registers the library says. "rrwkv.threads": how many the session has.
// "rrwkv.kernels": the name of a table of kernels, where it is not to be the best. Raises std::runtime_error.
Settings settings_of(const Api& api, const OrtSessionOptions* options) {
  const unsigned long given = std::strtoul(setting(api, options, "rrwkv.threads").c_str(), nullptr, 10);
  const size_t threads = given ? given : std::thread::hardware_concurrency();
  const bool spin = setting(api, options, "session.intra_op.allow_spinning") != "0";
  const Kernels& kernels = kernels_here(setting(api, options, "rrwkv.kernels"));
  return {std::clamp<size_t>(threads, 1, kMostThreads), spin, &kernels};
}

// A session keeps pointers to operators and domain, so they stay as long as the process does.
OrtStatus* add_ops(const Api& api, OrtSessionOptions* options) {
  const Settings settings = settings_of(api, options);
  const Op* ops[] = {new Op(op_of(api, "DecodeStep", settings, make<StepNode, kRWKV4>)),
                     new Op(op_of(api, "Prefill", settings, make<PrefillNode, kRWKV4>)),
                     new Op(op_of(api, "GatedWKV", settings, make<WkvNode>)),
                     new Op(op_of(api, "DecodeStepRWKV5", settings, make<StepNode, kRWKV5>)),
                     new Op(op_of(api, "PrefillRWKV5", settings, make<PrefillNode, kRWKV5>)),
                     new Op(op_of(api, "DecodeStepRWKV6", settings, make<StepNode, kRWKV6>)),
                     new Op(op_of(api, "PrefillRWKV6", settings, make<PrefillNode, kRWKV6>)),
                     new Op(op_of(api, "DecodeStepRWKV7", settings, make<StepNode, kRWKV7>)),
                     new Op(op_of(api, "PrefillRWKV7", settings, make<PrefillNode, kRWKV7>))};
  OrtCustomOpDomain* domain = nullptr;
  OrtStatus* status = api.create_domain("rrwkv", &domain);
  for (const Op* op : ops)
    if (!status) status = api.add_op(domain, op);
  return status ? status : api.add_domain(options, domain);
}

}  // namespace
}  // namespace rrwkv

#if defined(_WIN32)
#define RRWKV_EXPORT extern "C" __declspec(dllexport)
#else
#define RRWKV_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// The names of the tables of kernels that this processor can run, the best one first, divided by commas.
RRWKV_EXPORT const char* rrwkv_native_tables() {
  static const std::string names = [] {
    std::string all;
    for (const rrwkv::Kernels* table : rrwkv::tables_here()) all += (all.empty() ? "" : ",") + std::string(table->name);
    return all;
  }();
  return names.c_str();
}

// How one token reads the rows of matrices, in words; it may change as long as that is tried.
RRWKV_EXPORT const char* rrwkv_native_reading() { return rrwkv::reading().words; }

RRWKV_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const rrwkv::Api api(base);
  if (!api) return nullptr;  // an onnxruntime older than this interface: the graph runs as it is
  OrtStatus* status = nullptr;
  OrtStatus* raised = rrwkv::guarded(api, [&] { status = rrwkv::add_ops(api, options); });
  return raised ? raised : status;
}
