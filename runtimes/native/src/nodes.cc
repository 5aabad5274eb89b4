#include "nodes.h"

namespace rrwkv {
namespace {

std::unique_ptr<Matrix> columns(const Inputs& from, const std::string& role, size_t inputs) {
  const Value& weight = from.constant(role + ".weight");
  if (weight.type != kInt8 || weight.shape.size() != 2 || weight.shape[0] != static_cast<int64_t>(inputs))
    throw std::runtime_error("the weight of " + role + " has another shape");
  const size_t outputs = static_cast<size_t>(weight.shape[1]);
  const float* scale = from.values<float>(role + ".scale", outputs);
  const auto* values = static_cast<const int8_t*>(weight.data);
  if (!from.has(role + ".input_scale")) return std::make_unique<Columns>(values, inputs, outputs, scale, nullptr);
  const Columns::Range range{*from.values<float>(role + ".input_scale", 1),
                             *from.values<uint8_t>(role + ".input_zero_point", 1, kUint8)};
  return std::make_unique<Columns>(values, inputs, outputs, scale, &range);
}

std::unique_ptr<Matrix> blocks(const Inputs& from, const std::string& role, size_t inputs, size_t bits) {
  const Value& weight = from.constant(role + (bits == 4 ? ".weight4" : ".weight8"));
  const bool ranked = weight.type == kUint8 && weight.shape.size() == 3;
  const size_t block = ranked ? static_cast<size_t>(weight.shape[2]) * 8 / bits : 0;
  const bool fits = block >= 16 && block <= 1024 && (block & (block - 1)) == 0 &&
                    weight.shape[1] == static_cast<int64_t>((inputs + block - 1) / block);
  if (!fits) throw std::runtime_error("the weight of " + role + " has another shape");
  const size_t outputs = static_cast<size_t>(weight.shape[0]);
  const float* scale = from.values<float>(role + ".scale", outputs * static_cast<size_t>(weight.shape[1]));
  return std::make_unique<Blocks>(static_cast<const uint8_t*>(weight.data), inputs, outputs, block, bits, scale);
}

// The weights of a product in whatever form the graph holds them; 0 outputs: any number.
std::unique_ptr<Matrix> matrix(const Inputs& from, const std::string& role, size_t inputs, size_t outputs) {
  auto found = from.has(role + ".weight4")   ? blocks(from, role, inputs, 4)
               : from.has(role + ".weight8") ? blocks(from, role, inputs, 8)
                                             : columns(from, role, inputs);
  if (found->outputs == 0 || (outputs && found->outputs != outputs))
    throw std::runtime_error("the weight of " + role + " has another shape");
  return found;
}

LayerWeights layer_weights(const Inputs& from, float epsilon) {
  LayerWeights w{};
  const size_t C = w.channels = from.constant("ln1.weight").count();
  const auto vector = [&from](const char* name, size_t count) { return from.values<float>(name, count); };
  w.epsilon = epsilon;
  w.least_exp = *vector("least_exp", 1);
  w.most_exp = *vector("most_exp", 1);
  w.ln1 = {vector("ln1.weight", C), vector("ln1.bias", C)};
  w.ln2 = {vector("ln2.weight", C), vector("ln2.bias", C)};
  w.exp_u = vector("exp_u", C);
  w.time_now = vector("time_mix.now", 3 * C);
  w.channel_now = vector("channel_mix.now", 2 * C);
  if (from.has("bank")) {
    w.time_recalled = vector("time_mix.recalled", 3 * C);
    w.channel_recalled = vector("channel_mix.recalled", 2 * C);
    w.query = matrix(from, "medium.query", C, 0);
    w.key_size = w.query->outputs;
  }
  w.key = matrix(from, "att.key", C, C);
  w.value = matrix(from, "att.value", C, C);
  w.receptance = matrix(from, "att.receptance", C, C);
  w.output = matrix(from, "att.output", C, C);
  w.ffn_key = matrix(from, "ffn.key", C, 0);
  w.ffn_receptance = matrix(from, "ffn.receptance", C, C);
  w.ffn_value = matrix(from, "ffn.value", w.ffn_key->outputs, C);
  return w;
}

HeadWeights head_weights(const Inputs& from, float epsilon) {
  const size_t C = from.constant("ln_out.weight").count();
  return {epsilon, {from.values<float>("ln_out.weight", C), from.values<float>("ln_out.bias", C)}, matrix(from, "head", C, 0)};
}

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

}  // namespace

const float* Node::input(OrtKernelContext* context, size_t place, size_t count) const {
  const OrtValue* given = nullptr;
  check(api_, api_.input(context, place, &given), "an input");
  const Value value = value_of(api_, given);
  if (value.type != kFloat || value.count() != count) throw std::runtime_error("an input has another shape");
  return static_cast<const float*>(value.data);
}

float* Node::output(OrtKernelContext* context, size_t place, const Shape& shape) const {
  OrtValue* value = nullptr;
  check(api_, api_.output(context, place, shape.data(), shape.size(), &value), "an output");
  void* data = nullptr;
  check(api_, api_.data(value, &data), "an output");
  return static_cast<float*>(data);
}

LayerNode::LayerNode(const Api& api, const OrtKernelInfo* info, size_t threads)
    : LayerNode(api, Inputs(api, info), Inputs::number(api, info, "epsilon"), threads) {}

LayerNode::LayerNode(const Api& api, const Inputs& inputs, float epsilon, size_t threads)
    : Node(api, threads), layer_(layer_weights(inputs, epsilon)), channels_(layer_.weights().channels),
      key_size_(layer_.weights().key_size),
      places_{inputs.place("x"), inputs.place("time_mix.before"), inputs.place("channel_mix.before"),
              inputs.place("wkv"), 0, 0, 0} {
  if (!key_size_) return;
  places_.bank = inputs.place("bank");
  places_.key = inputs.place("key");
  places_.mask = inputs.place("mask");
}

void LayerNode::run(OrtKernelContext* context) const {
  const auto C = static_cast<int64_t>(channels_);
  LayerToken token{};
  token.x = input(context, places_.x, channels_);
  token.time_before = input(context, places_.time_before, 3 * channels_);
  token.channel_before = input(context, places_.channel_before, 2 * channels_);
  token.wkv = input(context, places_.wkv, 2 * channels_);
  if (key_size_) {
    const OrtValue* mask = nullptr;
    check(api_, api_.input(context, places_.mask, &mask), "an input");
    const size_t visible = value_of(api_, mask).count();  // the mediums and the empty slot
    if (visible < 2) throw std::runtime_error("an input has another shape");
    token.slots = visible - 1;
    token.mask = input(context, places_.mask, visible);
    token.bank = input(context, places_.bank, token.slots * channels_);
    token.key = input(context, places_.key, token.slots * key_size_);
  }
  token.h_1 = output(context, 0, {1, 1, C});
  token.h_2 = output(context, 1, {1, 1, C});
  token.summands = output(context, 2, {1, 2, C});
  token.y = output(context, 3, {1, 1, C});
  layer_.run(token, SessionThreads(api_, context, threads_));
}

HeadNode::HeadNode(const Api& api, const OrtKernelInfo* info, size_t threads)
    : HeadNode(api, Inputs(api, info), Inputs::number(api, info, "epsilon"), threads) {}

HeadNode::HeadNode(const Api& api, const Inputs& inputs, float epsilon, size_t threads)
    : Node(api, threads), head_(head_weights(inputs, epsilon)), x_(inputs.place("x")) {}

void HeadNode::run(OrtKernelContext* context) const {
  const float* x = input(context, x_, head_.weights().matrix->inputs);
  float* logits = output(context, 0, {1, static_cast<int64_t>(head_.weights().matrix->outputs)});
  head_.run(x, logits, SessionThreads(api_, context, threads_));
}

}  // namespace rrwkv
