#include "weights/source.h"

#include <cmath>

#include "model/matrix/blockwise.h"
#include "model/matrix/float_columns.h"
#include "model/matrix/int8_per_channel.h"

namespace rrwkv {
namespace {

constexpr int64_t kMostLayers = 10000, kLongestInterval = 1 << 30;

// A weight [K, N] of this type; N 0: any number.
const Value& rows_of_inputs(const Call& from, const std::string& name, Element type, size_t K, size_t N) {
  const Value& weight = from.constant(name);
  expect_exactly(weight, name, type, {size(K), N ? size(N) : kAny});
  return weight;
}

std::unique_ptr<Matrix> int8_per_channel(const Call& from, const Kernels& kernels, const std::string& role,
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
std::unique_ptr<Matrix> blockwise(const Call& from, const Kernels& kernels, const std::string& role,
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

std::unique_ptr<Matrix> float16(const Call& from, const Kernels& kernels, const std::string& role, size_t inputs,
                                size_t N) {
  const Value& weight = rows_of_inputs(from, role + ".half", kFloat16, inputs, N);
  const auto* values = static_cast<const uint16_t*>(weight.data);
  return std::make_unique<Float16>(kernels, values, inputs, static_cast<size_t>(weight.shape[1]));
}

std::unique_ptr<Matrix> float32(const Call& from, const Kernels& kernels, const std::string& role, size_t inputs,
                                size_t N) {
  const Value& weight = rows_of_inputs(from, role + ".single", kFloat, inputs, N);
  const auto* values = static_cast<const float*>(weight.data);
  return std::make_unique<Float32>(kernels, values, inputs, static_cast<size_t>(weight.shape[1]));
}

}  // namespace

WeightSource::WeightSource(const Call& from, const Kernels& kernels)
    : from(from),
      kernels(kernels),
      layers(static_cast<size_t>(from.whole_number("layers", 1, kMostLayers))),
      channels(from.size_of("ln_out.weight")),
      interval(static_cast<size_t>(from.whole_number("interval", 0, kLongestInterval))) {}

std::unique_ptr<Matrix> WeightSource::matrix(const std::string& role, size_t inputs, size_t outputs) const {
  for (const char* form : {".weight4", ".weight8", ".float8"})
    if (from.has(role + form)) return blockwise(from, kernels, role, form, inputs, outputs);
  if (from.has(role + ".half")) return float16(from, kernels, role, inputs, outputs);
  if (from.has(role + ".single")) return float32(from, kernels, role, inputs, outputs);
  return int8_per_channel(from, kernels, role, inputs, outputs);
}

const float* WeightSource::vector(const std::string& name) const { return from.values(name, {size(channels)}); }

Mix WeightSource::mix(const std::string& name, int64_t roles) const {
  const auto rows = [&](const char* part) { return from.values(name + part, {roles, size(channels)}); };
  return {rows(".now"), rows(".before"), interval ? rows(".recalled") : nullptr};
}

Norm WeightSource::norm(const std::string& name) const {
  return {vector(name + ".weight"), vector(name + ".bias"), epsilon("epsilon")};
}

float WeightSource::epsilon(const char* attribute) const {
  const float value = from.number(attribute);
  if (!(std::isfinite(value) && value >= 0))
    throw std::runtime_error(std::string("attribute ") + attribute + " must be a number from 0 on, not " +
                             std::to_string(value));
  return value;
}

}  // namespace rrwkv
