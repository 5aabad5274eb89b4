// One row of activations times 16 outputs of weights, so many times: what `benchmarks.speed.instructions` counts.
//
//     one_row TIMES INPUTS int8|4|8 BLOCK
//
// Compiled with one file of kernels: KERNELS, and their TABLE.
#include <cstdlib>
#include <string>
#include <vector>

#include KERNELS

namespace {

constexpr size_t kOutputs = 16, kColumns = 64, kMore = 1024;  // kMore: what may be read over an end

void columns(const rrwkv::Kernels& kernels, size_t times, size_t inputs) {
  const std::vector<int8_t> weight(inputs * kColumns + kMore, 3);
  const std::vector<uint8_t> x(inputs + kMore, 100);
  std::vector<int32_t> sums(kColumns);
  for (size_t i = 0; i < times; ++i)
    kernels.int8.accumulate(weight.data(), kColumns, inputs, kColumns, x.data(), {}, sums.data());
}

void blocks(const rrwkv::Kernels& kernels, size_t times, size_t inputs, size_t bits, size_t block) {
  const std::vector<uint8_t> weight(kOutputs * inputs * bits / 8 + kMore, 0x5a);
  const std::vector<float> scale(kOutputs * inputs / block + kMore, 0.01f), x(inputs + kMore, 0.5f);
  const rrwkv::BlockwiseWeights w(weight.data(), scale.data(), inputs, kOutputs, block, bits);
  std::vector<uint8_t> bytes(w.activation_bytes() + kMore);
  std::vector<float> scales(w.blocks + kMore), of_lanes(16 * w.vectors + kMore), zeros(w.blocks + kMore), y(kOutputs);
  kernels.blockwise.quantize(w, x.data(), bytes.data(), scales.data(), of_lanes.data(), zeros.data());
  for (size_t i = 0; i < times; ++i)
    kernels.blockwise.multiply(w, {bytes.data(), of_lanes.data(), zeros.data()}, {0, kOutputs}, {}, y.data());
}

}  // namespace

int main(int, char** argv) {
  const std::string form = argv[3];
  const size_t times = std::strtoul(argv[1], nullptr, 10), inputs = std::strtoul(argv[2], nullptr, 10);
  if (form == "int8")
    columns(rrwkv::TABLE, times, inputs);
  else
    blocks(rrwkv::TABLE, times, inputs, std::strtoul(argv[3], nullptr, 10), std::strtoul(argv[4], nullptr, 10));
}
