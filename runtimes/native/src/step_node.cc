#include "step_node.h"

#include "block_weights.h"

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

// form: ".weight4" or ".weight8" for products in whole numbers, ".float8" for activations as they are.
std::unique_ptr<Matrix> blocks(const Inputs& from, const std::string& role, size_t inputs, const std::string& form) {
  const BlockMatrix w = block_matrix(from, role + form, role + ".scale", inputs, form == ".weight4" ? 4 : 8);
  if (form == ".float8") return std::make_unique<FloatBlocks>(w.weight, w.inputs, w.outputs, w.block, w.scale);
  return std::make_unique<Blocks>(w.weight, w.inputs, w.outputs, w.block, w.bits, w.scale);
}

// The weights of a product in whatever form the graph holds them; 0 outputs: any number.
std::unique_ptr<Matrix> matrix(const Inputs& from, const std::string& role, size_t inputs, size_t outputs) {
  std::unique_ptr<Matrix> found;
  for (const char* form : {".weight4", ".weight8", ".float8"})
    if (from.has(role + form)) found = blocks(from, role, inputs, form);
  if (!found) found = columns(from, role, inputs);
  if (found->outputs == 0 || (outputs && found->outputs != outputs))
    throw std::runtime_error("the weight of " + role + " has another shape");
  return found;
}

// decay: exp(-d) in the plain form of wkv.
LayerWeights layer_weights(const Inputs& from, const std::string& block, size_t C, const float* decay) {
  LayerWeights w{};
  const auto vector = [&](const char* name, size_t count) { return from.values<float>(block + name, count); };
  w.channels = C;
  w.epsilon = from.number<float>("epsilon");
  w.wkv = {C, decay == nullptr, 0, 0, vector("bonus", C), decay ? decay : vector("decay", C)};
  if (decay) {
    w.wkv.least_exp = *from.values<float>("least_exp", 1);
    w.wkv.most_exp = *from.values<float>("most_exp", 1);
  }
  w.ln1 = {vector("ln1.weight", C), vector("ln1.bias", C)};
  w.ln2 = {vector("ln2.weight", C), vector("ln2.bias", C)};
  w.time_now = vector("time_mix.now", 3 * C);
  w.time_before = vector("time_mix.before", 3 * C);
  w.channel_now = vector("channel_mix.now", 2 * C);
  w.channel_before = vector("channel_mix.before", 2 * C);
  if (from.number<int64_t>("interval")) {
    w.time_recalled = vector("time_mix.recalled", 3 * C);
    w.channel_recalled = vector("channel_mix.recalled", 2 * C);
    w.query = matrix(from, block + "medium.query", C, 0);
    w.key_size = w.query->outputs;
  }
  w.key = matrix(from, block + "att.key", C, C);
  w.value = matrix(from, block + "att.value", C, C);
  w.receptance = matrix(from, block + "att.receptance", C, C);
  w.output = matrix(from, block + "att.output", C, C);
  w.ffn_key = matrix(from, block + "ffn.key", C, 0);
  w.ffn_receptance = matrix(from, block + "ffn.receptance", C, C);
  w.ffn_value = matrix(from, block + "ffn.value", w.ffn_key->outputs, C);
  return w;
}

StepWeights step_weights(const Inputs& from) {
  constexpr int64_t kMostLayers = 10000;
  const size_t C = from.constant("ln_out.weight").count();
  const int64_t layers = from.number<int64_t>("layers"), interval = from.number<int64_t>("interval");
  if (C == 0 || layers < 1 || layers > kMostLayers || interval < 0)
    throw std::runtime_error("a node's attributes are wrong");
  const auto L = static_cast<size_t>(layers);
  HeadWeights head{from.number<float>("epsilon"),
                   {from.values<float>("ln_out.weight", C), from.values<float>("ln_out.bias", C)},
                   matrix(from, "head", C, 0)};
  StepWeights w{{}, Head(std::move(head)), {}, 0, 0, interval};
  const float* decays = from.has("decays") ? from.values<float>("decays", L * C) : nullptr;
  for (size_t i = 0; i < L; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    w.layers.emplace_back(layer_weights(from, block, C, decays ? decays + C * i : nullptr));
    const std::string squeeze = block + "medium.squeeze";
    w.squeeze.push_back(from.has(squeeze) ? from.values<float>(squeeze, C) : nullptr);
  }
  if (w.squeeze.front()) {
    w.least_significance = *from.values<float>("least_significance", 1);
    w.most_significance = *from.values<float>("most_significance", 1);
  }
  return w;
}

}  // namespace

StepNode::StepNode(const Api& api, const OrtKernelInfo* info, size_t threads)
    : StepNode(api, Inputs(api, info), threads) {}

StepNode::StepNode(const Api& api, const Inputs& inputs, size_t threads)
    : Node(api, threads),
      step_(step_weights(inputs)),
      places_{inputs.place("x"), 0, inputs.place("shift"), inputs.place("wkv"), 0, 0, {}, {}} {
  if (!step_.weights().interval) return;
  places_.position = inputs.place("position");
  places_.sum = inputs.place("medium_sum");
  places_.weight = inputs.place("medium_weight");
  for (size_t i = 0; i < step_.weights().layers.size(); ++i) {
    places_.banks.push_back(inputs.place("medium_bank." + std::to_string(i)));
    places_.keys.push_back(inputs.place("medium_key." + std::to_string(i)));
  }
}

void StepNode::read_mediums(OrtKernelContext* context, StepToken& token) const {
  const auto& layers = step_.weights().layers;
  const size_t L = layers.size(), C = layers.front().weights().channels;
  const Value position = value(context, places_.position);
  if (position.type != kInt64 || position.count() != 1) throw std::runtime_error("the position has another shape");
  token.position = *static_cast<const int64_t*>(position.data);
  token.slots = value(context, places_.banks.front()).count() / C;
  if (token.position < 0 || token.slots == 0) throw std::runtime_error("an input has another shape");
  for (size_t i = 0; i < L; ++i) {
    token.banks.push_back(input(context, places_.banks[i], token.slots * C));
    token.keys.push_back(input(context, places_.keys[i], token.slots * layers[i].weights().key_size));
  }
  token.sum = input(context, places_.sum, L * C);
  token.weight = input(context, places_.weight, L);
  const auto [l, c] = std::pair(static_cast<int64_t>(L), static_cast<int64_t>(C));
  token.new_sum = output(context, 3, {l, 1, c});
  token.new_weight = output(context, 4, {l, 1, 1});
}

// Outputs: logits, shift, wkv, and with mediums S and G.
void StepNode::run(OrtKernelContext* context) const {
  const auto& layers = step_.weights().layers;
  const size_t L = layers.size(), C = layers.front().weights().channels;
  const auto [l, c] = std::pair(static_cast<int64_t>(L), static_cast<int64_t>(C));
  StepToken token{};
  token.x = input(context, places_.x, C);
  token.shift = input(context, places_.shift, L * 2 * C);
  token.wkv = input(context, places_.wkv, L * step_.wkv_rows() * C);
  token.logits = output(context, 0, {1, static_cast<int64_t>(step_.weights().head.weights().matrix->outputs)});
  token.new_shift = output(context, 1, {l, 2, c});
  token.new_wkv = output(context, 2, {l, static_cast<int64_t>(step_.wkv_rows()), c});
  if (step_.weights().interval) read_mediums(context, token);
  step_.run(token, SessionThreads(api_, context, threads_));
}

}  // namespace rrwkv
