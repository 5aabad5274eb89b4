#include "ort/weights.h"

#include <cmath>
#include <string>

#include "model/matrix/blockwise.h"
#include "model/matrix/float_columns.h"
#include "model/matrix/int8_per_channel.h"

namespace rrwkv {
namespace {

constexpr int64_t kMostLayers = 10000, kLongestInterval = 1 << 30;

// What the weights of all layers are held against. key_size: 0 until the first layer's query says it.
struct Sizes {
  size_t layers, channels, interval, key_size;
  float epsilon;
};

int64_t size(size_t n) { return static_cast<int64_t>(n); }

// A weight [K, N] of this type; N 0: any number.
const Value& rows_of_inputs(const NodeInfo& from, const std::string& name, OrtElement type, size_t K, size_t N) {
  const Value& weight = from.constant(name);
  expect_exactly(weight, name, type, {size(K), N ? size(N) : kAny});
  return weight;
}

std::unique_ptr<Matrix> int8_per_channel(const NodeInfo& from, const Kernels& kernels, const std::string& role,
                                         size_t inputs, size_t N) {
  const Value& weight = rows_of_inputs(from, role + ".weight", kInt8, inputs, N);
  const auto* values = static_cast<const int8_t*>(weight.data);
  const float* scale = from.values(role + ".scale", {weight.shape[1]});
  const auto outputs = static_cast<size_t>(weight.shape[1]);
  if (!from.has(role + ".input_scale"))
    return std::make_unique<Int8PerChannel>(kernels, values, inputs, outputs, scale, nullptr);
  const Int8PerChannel::Range range{*from.values(role + ".input_scale", {}),
                                    *from.values<uint8_t>(role + ".input_zero_point", {}, kUint8)};
  return std::make_unique<Int8PerChannel>(kernels, values, inputs, outputs, scale, &range);
}

// A weight [N, blocks, block / (8 / bits)] and its scales, held against each other's shapes. form: ".weight4" or
// ".weight8" for products in whole numbers, ".float8" for activations as they are.
std::unique_ptr<Matrix> blockwise(const NodeInfo& from, const Kernels& kernels, const std::string& role,
                                  const std::string& form, size_t inputs, size_t N) {
  const std::string name = role + form;
  const size_t bits = form == ".weight4" ? 4 : 8;
  const Value& weight = from.constant(name);
  expect_exactly(weight, name, kUint8, {N ? size(N) : kAny, kAny, kAny});
  const auto outputs = static_cast<size_t>(weight.shape[0]);
  const size_t block = static_cast<size_t>(weight.shape[2]) * 8 / bits;
  if (block < 16 || block > 1024 || (block & (block - 1)))
    throw std::runtime_error(name + " must be in blocks of 16 to 1024, a power of two, not " + std::to_string(block));
  const int64_t count = size((inputs + block - 1) / block);
  expect_exactly(weight, name, kUint8, {weight.shape[0], count, weight.shape[2]});
  const auto* values = static_cast<const uint8_t*>(weight.data);
  const bool flat = from.constant(role + ".scale").shape.size() == 1;  // as MatMulNBits takes them too
  const float* scale =
      from.values(role + ".scale", flat ? Shape{weight.shape[0] * count} : Shape{weight.shape[0], count});
  const BlockwiseWeights weights(values, scale, inputs, outputs, block, bits);
  if (form == ".float8") return std::make_unique<BlockwiseFloat>(kernels, weights);
  return std::make_unique<BlockwiseInt8>(kernels, weights);
}

std::unique_ptr<Matrix> float32(const NodeInfo& from, const Kernels& kernels, const std::string& role, size_t inputs,
                                size_t N) {
  const Value& weight = rows_of_inputs(from, role + ".single", kFloat, inputs, N);
  const auto* values = static_cast<const float*>(weight.data);
  return std::make_unique<Float32>(kernels, values, inputs, static_cast<size_t>(weight.shape[1]));
}

std::unique_ptr<Matrix> float16(const NodeInfo& from, const Kernels& kernels, const std::string& role, size_t inputs,
                                size_t N) {
  const Value& weight = rows_of_inputs(from, role + ".half", kFloat16, inputs, N);
  const auto* values = static_cast<const uint16_t*>(weight.data);
  return std::make_unique<Float16>(kernels, values, inputs, static_cast<size_t>(weight.shape[1]));
}

// The weights of a product in whatever form the graph holds them; 0 outputs: any number.
std::unique_ptr<Matrix> matrix_of(const NodeInfo& from, const Kernels& kernels, const std::string& role, size_t inputs,
                                  size_t outputs) {
  for (const char* form : {".weight4", ".weight8", ".float8"})
    if (from.has(role + form)) return blockwise(from, kernels, role, form, inputs, outputs);
  if (from.has(role + ".half")) return float16(from, kernels, role, inputs, outputs);
  if (from.has(role + ".single")) return float32(from, kernels, role, inputs, outputs);
  return int8_per_channel(from, kernels, role, inputs, outputs);
}

std::unique_ptr<Medium> medium_of(const NodeInfo& from, const Kernels& kernels, const std::string& prefix,
                                  Sizes& sizes) {
  const size_t C = sizes.channels;
  MediumWeights w{};
  const auto matrix = [&](const char* name, size_t inputs, size_t outputs) {
    return matrix_of(from, kernels, prefix + name, inputs, outputs);
  };
  w.interval = sizes.interval;
  w.query = matrix("query", C, sizes.key_size);
  sizes.key_size = w.query->outputs;
  if (from.has("medium_bank")) {  // and not each layer's own, which are only read
    w.down = matrix("down", C, 0);
    w.up = matrix("up", w.down->outputs, C);
    w.key = matrix("key", C, sizes.key_size);
  }
  if (from.has(prefix + "squeeze")) {
    w.squeeze = from.values(prefix + "squeeze", {size(C)});
    w.least_significance = *from.values("least_significance", {});
    w.most_significance = *from.values("most_significance", {});
  }
  return std::make_unique<Medium>(std::move(w), C);
}

LayerWeights layer_weights(const NodeInfo& from, const Kernels& kernels, const std::string& prefix, const float* decay,
                           Sizes& sizes) {
  const size_t C = sizes.channels;
  LayerWeights w{};
  const auto vector = [&](const char* name) { return from.values(prefix + name, {size(C)}); };
  const auto rows = [&](const char* name, int64_t count) { return from.values(prefix + name, {count, size(C)}); };
  const auto matrix = [&](const char* name, size_t inputs, size_t outputs) {
    return matrix_of(from, kernels, prefix + name, inputs, outputs);
  };
  w.channels = C;
  w.epsilon = sizes.epsilon;
  w.wkv = wkv_weights(from, prefix, C, !from.has("least_exp"), decay);
  w.ln1 = {vector("ln1.weight"), vector("ln1.bias")};
  w.ln2 = {vector("ln2.weight"), vector("ln2.bias")};
  w.time.now = rows("time_mix.now", 3);
  w.time.before = rows("time_mix.before", 3);
  w.channel.now = rows("channel_mix.now", 2);
  w.channel.before = rows("channel_mix.before", 2);
  if (sizes.interval) {
    w.time.recalled = rows("time_mix.recalled", 3);
    w.channel.recalled = rows("channel_mix.recalled", 2);
    w.medium = medium_of(from, kernels, prefix + "medium.", sizes);
  }
  w.key = matrix("att.key", C, C);
  w.value = matrix("att.value", C, C);
  w.receptance = matrix("att.receptance", C, C);
  w.output = matrix("att.output", C, C);
  w.ffn_key = matrix("ffn.key", C, 0);
  w.ffn_receptance = matrix("ffn.receptance", C, C);
  w.ffn_value = matrix("ffn.value", w.ffn_key->outputs, C);
  return w;
}

Sizes sizes_of(const NodeInfo& from) {
  const float epsilon = from.number("epsilon");
  if (!(std::isfinite(epsilon) && epsilon >= 0))
    throw std::runtime_error("attribute epsilon must be a number from 0 on, not " + std::to_string(epsilon));
  return {static_cast<size_t>(from.whole_number("layers", 1, kMostLayers)), from.size_of("ln_out.weight"),
          static_cast<size_t>(from.whole_number("interval", 0, kLongestInterval)), 0, epsilon};
}

}  // namespace

Wkv wkv_weights(const NodeInfo& from, const std::string& prefix, size_t C, bool stable, const float* decay) {
  Wkv w{C, stable, 0, 0, from.values(prefix + "bonus", {size(C)}), decay};
  if (!decay) w.decay = from.values(prefix + "decay", {size(C)});
  if (!stable) {
    w.least_exp = *from.values("least_exp", {});
    w.most_exp = *from.values("most_exp", {});
  }
  return w;
}

ModelWeights model_weights(const NodeInfo& from, const Kernels& kernels) {
  Sizes sizes = sizes_of(from);
  const size_t C = sizes.channels;
  HeadWeights head{sizes.epsilon,
                   {from.values("ln_out.weight", {size(C)}), from.values("ln_out.bias", {size(C)})},
                   matrix_of(from, kernels, "head", C, 0)};
  ModelWeights w{{}, Head(std::move(head))};
  // In the plain form of wkv; of one token all layers' states decay at once.
  const float* decays = from.has("decays") ? from.values("decays", {size(sizes.layers), size(C)}) : nullptr;
  for (size_t i = 0; i < sizes.layers; ++i) {
    const float* decay = decays ? decays + C * i : nullptr;
    w.layers.emplace_back(layer_weights(from, kernels, "blocks." + std::to_string(i) + ".", decay, sizes));
  }
  return w;
}

}  // namespace rrwkv
