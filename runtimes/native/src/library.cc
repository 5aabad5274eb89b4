// What onnxruntime loads: SessionOptions.register_custom_ops_library gives RegisterCustomOps the session's options.
//
// The operators are rrwkv::DecodeStep, the decode graph, and in graphs for any number of tokens rrwkv::GatedWKV and
// rrwkv::BlockProduct.
#include <cstdlib>
#include <exception>
#include <memory>
#include <thread>

#include "block_node.h"
#include "step_node.h"
#include "wkv_node.h"

namespace rrwkv {
namespace {

constexpr size_t kMostThreads = 1024;

struct Op : OrtCustomOp {
  Api api;
  const char* name;
  size_t threads;
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
  }
}

struct Kernel {
  Api api;
  std::unique_ptr<Node> node;
};

template <typename Kind>
OrtStatus* create(const OrtCustomOp* op, const void*, const OrtKernelInfo* info, void** kernel) {
  const Op& of = self(op);
  return guarded(of.api, [&] { *kernel = new Kernel{of.api, std::make_unique<Kind>(of.api, info, of.threads)}; });
}

OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  const auto& of = *static_cast<Kernel*>(kernel);
  return guarded(of.api, [&] { of.node->run(context); });
}

// One input and one output are declared, each as many values as a node has; inputs of several types.
template <typename Kind>
Op op_of(const Api& api, const char* name, size_t threads) {
  Op op{{}, api, name, threads};
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
  op.CreateKernelV2 = create<Kind>;
  op.KernelComputeV2 = compute;
  op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
  op.GetEndVersion = [](const OrtCustomOp*) { return 1; };
  return op;
}

// The session's threads, which its options do not tell: whoever registers the library says "rrwkv.threads".
size_t threads_of(const Api& api, const OrtSessionOptions* options) {
  char text[16] = "";
  size_t size = sizeof text;
  if (OrtStatus* status = api.setting(options, "rrwkv.threads", text, &size)) api.release(status);
  const unsigned long given = std::strtoul(text, nullptr, 10);
  const size_t threads = given ? given : std::thread::hardware_concurrency();
  return threads < 1 ? 1 : threads > kMostThreads ? kMostThreads : threads;
}

}  // namespace
}  // namespace rrwkv

#if defined(_WIN32)
#define RRWKV_EXPORT extern "C" __declspec(dllexport)
#else
#define RRWKV_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// Whether this processor has what the kernels are made of.
RRWKV_EXPORT int rrwkv_native_runs_here() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
}

RRWKV_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  using namespace rrwkv;
  const Api api(base);
  if (!api) return nullptr;  // an onnxruntime older than this interface: the graph runs as it is
  // A session keeps pointers to operators and domain, so they stay as long as the process does.
  const size_t threads = threads_of(api, options);
  const Op* ops[] = {new Op(op_of<StepNode>(api, "DecodeStep", threads)),
                     new Op(op_of<WkvNode>(api, "GatedWKV", threads)),
                     new Op(op_of<BlockNode>(api, "BlockProduct", threads))};
  OrtCustomOpDomain* domain = nullptr;
  OrtStatus* status = api.create_domain("rrwkv", &domain);
  for (const Op* op : ops)
    if (!status) status = api.add_op(domain, op);
  return status ? status : api.add_domain(options, domain);
}
