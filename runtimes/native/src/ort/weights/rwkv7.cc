#include "model/rwkv7/blocks.h"
#include "ort/weights/architecture.h"

namespace rrwkv {
namespace {

class Reader : public BlockReader {
 public:
  explicit Reader(const WeightSource& source) : BlockReader(source) {
    const std::string name = "blocks.0.att.r_k";
    const Value& bonus = of_.from.constant(name);
    expect_exactly(bonus, name, kFloat, {kAny, kAny});
    heads_ = static_cast<size_t>(bonus.shape[0]);
    size_ = static_cast<size_t>(bonus.shape[1]);
    if (bonus.count != of_.channels)
      throw std::runtime_error(name + " must have " + std::to_string(of_.channels) + " values, not " +
                               std::to_string(bonus.count));
  }

  std::unique_ptr<TimeMix> time_mix(size_t layer) const override {
    const size_t C = of_.channels;
    const std::string prefix = prefix_of(layer) + "att.";
    rwkv7::TimeMixWeights w{};
    w.heads = heads(prefix, layer);
    w.mix = of_.mix(prefix_of(layer) + "time_mix", 6);
    w.receptance = of_.matrix(prefix + "receptance", C, C);
    w.key = of_.matrix(prefix + "key", C, C);
    w.value = of_.matrix(prefix + "value", C, C);
    w.output = of_.matrix(prefix + "output", C, C);
    w.w = low_rank(prefix + "w");
    w.a = low_rank(prefix + "a");
    w.g = low_rank(prefix + "g");
    if (layer) w.v = low_rank(prefix + "v");
    return std::make_unique<rwkv7::TimeMix>(std::move(w));
  }

  std::unique_ptr<ChannelMix> channel_mix(size_t layer) const override {
    const size_t C = of_.channels;
    const std::string prefix = prefix_of(layer);
    rwkv7::ChannelMixWeights w{C, of_.mix(prefix + "channel_mix", 1), of_.matrix(prefix + "ffn.key", C, 0), nullptr};
    w.value = of_.matrix(prefix + "ffn.value", w.key->outputs, C);
    return std::make_unique<rwkv7::ChannelMix>(std::move(w));
  }

 private:
  rwkv7::LowRank low_rank(const std::string& name) const {
    rwkv7::LowRank of{of_.matrix(name + "1", of_.channels, 0), nullptr};
    of.up = of_.matrix(name + "2", of.down->outputs, of_.channels);
    return of;
  }

  rwkv7::HeadsWeights heads(const std::string& prefix, size_t layer) const {
    const auto vector = [&](const char* name) { return of_.vector(prefix + name); };
    const auto by_head = [&](const char* name) { return of_.from.values(prefix + name, {size(heads_), size(size_)}); };
    return {heads_,
            size_,
            vector("w0"),
            vector("a0"),
            layer ? vector("v0") : nullptr,
            *of_.from.values("decay_scale", {}),
            {vector("k_k"), vector("k_a"), vector("k_a_rest"), *of_.from.values("shortest", {})},
            {by_head("ln_x.weight"), by_head("ln_x.bias"), by_head("r_k"), of_.epsilon("group_norm_epsilon")}};
  }

  size_t heads_ = 0, size_ = 0;
};

}  // namespace

const Architecture kRWKV7{
    "matrix", [](const WeightSource& of) -> std::unique_ptr<BlockReader> { return std::make_unique<Reader>(of); }};

}  // namespace rrwkv
