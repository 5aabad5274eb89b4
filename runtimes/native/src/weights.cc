#include "weights.h"

#include <string>

#include "blocks.h"
#include "columns.h"
#include "halves.h"

namespace rrwkv {
namespace {

// A weight [K, N] of this type.
const Value& rows_of_inputs(const Inputs& from, const std::string& role, const char* form, OrtElement type, size_t K) {
  const Value& weight = from.constant(role + form);
  if (weight.type != type || weight.shape.size() != 2 || weight.shape[0] != static_cast<int64_t>(K))
    throw std::runtime_error("the weight of " + role + " has another shape");
  return weight;
}

std::unique_ptr<Matrix> columns(const Inputs& from, const std::string& role, size_t inputs) {
  const Value& weight = rows_of_inputs(from, role, ".weight", kInt8, inputs);
  const size_t outputs = static_cast<size_t>(weight.shape[1]);
  const float* scale = from.values<float>(role + ".scale", outputs);
  const auto* values = static_cast<const int8_t*>(weight.data);
  if (!from.has(role + ".input_scale")) return std::make_unique<Columns>(values, inputs, outputs, scale, nullptr);
  const Columns::Range range{*from.values<float>(role + ".input_scale", 1),
                             *from.values<uint8_t>(role + ".input_zero_point", 1, kUint8)};
  return std::make_unique<Columns>(values, inputs, outputs, scale, &range);
}

// A weight [N, blocks, block / (8 / bits)] and its scales, held against each other's shapes. form: ".weight4" or
// ".weight8" for products in whole numbers, ".float8" for activations as they are.
std::unique_ptr<Matrix> blocks(const Inputs& from, const std::string& role, size_t inputs, const std::string& form) {
  const size_t bits = form == ".weight4" ? 4 : 8;
  const Value& weight = from.constant(role + form);
  const bool ranked = weight.type == kUint8 && weight.shape.size() == 3 && weight.shape[0] > 0;
  const size_t block = ranked ? static_cast<size_t>(weight.shape[2]) * 8 / bits : 0;
  const bool fits = block >= 16 && block <= 1024 && (block & (block - 1)) == 0 &&
                    weight.shape[1] == static_cast<int64_t>((inputs + block - 1) / block);
  if (!fits) throw std::runtime_error("the weight of " + role + " has another shape");
  const auto outputs = static_cast<size_t>(weight.shape[0]);
  const float* scale = from.values<float>(role + ".scale", outputs * static_cast<size_t>(weight.shape[1]));
  const auto* values = static_cast<const uint8_t*>(weight.data);
  if (form == ".float8") return std::make_unique<FloatBlocks>(values, inputs, outputs, block, scale);
  return std::make_unique<Blocks>(values, inputs, outputs, block, bits, scale);
}

std::unique_ptr<Matrix> halves(const Inputs& from, const std::string& role, size_t inputs) {
  const Value& weight = rows_of_inputs(from, role, ".half", kFloat16, inputs);
  const auto* values = static_cast<const uint16_t*>(weight.data);
  return std::make_unique<Halves>(values, inputs, static_cast<size_t>(weight.shape[1]));
}

// The weights of a product in whatever form the graph holds them; 0 outputs: any number.
std::unique_ptr<Matrix> matrix(const Inputs& from, const std::string& role, size_t inputs, size_t outputs) {
  std::unique_ptr<Matrix> found;
  for (const char* form : {".weight4", ".weight8", ".float8"})
    if (from.has(role + form)) found = blocks(from, role, inputs, form);
  if (!found) found = from.has(role + ".half") ? halves(from, role, inputs) : columns(from, role, inputs);
  if (found->outputs == 0 || (outputs && found->outputs != outputs))
    throw std::runtime_error("the weight of " + role + " has another shape");
  return found;
}

std::unique_ptr<Medium> medium(const Inputs& from, const std::string& block, size_t C, size_t interval) {
  MediumWeights w{};
  w.interval = interval;
  w.query = matrix(from, block + "query", C, 0);
  if (from.has("medium_bank")) {  // and not each layer's own, which are only read
    w.down = matrix(from, block + "down", C, 0);
    w.up = matrix(from, block + "up", w.down->outputs, C);
    w.key = matrix(from, block + "key", C, w.query->outputs);
  }
  if (from.has(block + "squeeze")) {
    w.squeeze = from.values<float>(block + "squeeze", C);
    w.least_significance = *from.values<float>("least_significance", 1);
    w.most_significance = *from.values<float>("most_significance", 1);
  }
  return std::make_unique<Medium>(std::move(w), C);
}

LayerWeights layer_weights(const Inputs& from, const std::string& block, size_t C, const float* decay,
                           size_t interval) {
  LayerWeights w{};
  const auto vector = [&](const char* name, size_t count) { return from.values<float>(block + name, count); };
  w.channels = C;
  w.epsilon = from.number<float>("epsilon");
  w.wkv = wkv_weights(from, block, C, !from.has("least_exp"), decay);
  w.ln1 = {vector("ln1.weight", C), vector("ln1.bias", C)};
  w.ln2 = {vector("ln2.weight", C), vector("ln2.bias", C)};
  w.time_now = vector("time_mix.now", 3 * C);
  w.time_before = vector("time_mix.before", 3 * C);
  w.channel_now = vector("channel_mix.now", 2 * C);
  w.channel_before = vector("channel_mix.before", 2 * C);
  if (interval) {
    w.time_recalled = vector("time_mix.recalled", 3 * C);
    w.channel_recalled = vector("channel_mix.recalled", 2 * C);
    w.medium = medium(from, block + "medium.", C, interval);
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

}  // namespace

Wkv wkv_weights(const Inputs& from, const std::string& prefix, size_t C, bool stable, const float* decay) {
  Wkv w{C, stable, 0, 0, from.values<float>(prefix + "bonus", C), decay};
  if (!decay) w.decay = from.values<float>(prefix + "decay", C);
  if (!stable) {
    w.least_exp = *from.values<float>("least_exp", 1);
    w.most_exp = *from.values<float>("most_exp", 1);
  }
  return w;
}

ModelWeights model_weights(const Inputs& from) {
  constexpr int64_t kMostLayers = 10000;
  const size_t C = from.constant("ln_out.weight").count();
  const int64_t layers = from.number<int64_t>("layers"), interval = from.number<int64_t>("interval");
  if (C == 0 || layers < 1 || layers > kMostLayers || interval < 0)
    throw std::runtime_error("a node's attributes are wrong");
  const auto L = static_cast<size_t>(layers);
  HeadWeights head{from.number<float>("epsilon"),
                   {from.values<float>("ln_out.weight", C), from.values<float>("ln_out.bias", C)},
                   matrix(from, "head", C, 0)};
  ModelWeights w{{}, Head(std::move(head))};
  // In the plain form of wkv; of one token all layers' states decay at once.
  const float* decays = from.has("decays") ? from.values<float>("decays", L * C) : nullptr;
  for (size_t i = 0; i < L; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    const float* decay = decays ? decays + C * i : nullptr;
    w.layers.emplace_back(layer_weights(from, block, C, decay, static_cast<size_t>(interval)));
  }
  return w;
}

}  // namespace rrwkv
