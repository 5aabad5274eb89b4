#include "weights/model.h"

namespace rrwkv {
namespace {

// key_size: 0 until the first layer's query says it.
std::unique_ptr<Medium> medium_of(const WeightSource& of, const std::string& prefix, size_t& key_size) {
  const size_t C = of.channels;
  MediumWeights w{};
  w.interval = of.interval;
  w.query = of.matrix(prefix + "query", C, key_size);
  key_size = w.query->outputs;
  if (of.from.has("medium_bank")) {  // and not each layer's own, which are only read
    w.down = of.matrix(prefix + "down", C, 0);
    w.up = of.matrix(prefix + "up", w.down->outputs, C);
    w.key = of.matrix(prefix + "key", C, key_size);
  }
  if (of.from.has(prefix + "squeeze")) {
    w.squeeze = of.vector(prefix + "squeeze");
    w.least_significance = *of.from.values("least_significance", {});
    w.most_significance = *of.from.values("most_significance", {});
  }
  return std::make_unique<Medium>(std::move(w), C);
}

std::unique_ptr<ChannelMix> channel_mix_of(const WeightSource& of, const std::string& prefix, bool receptance) {
  const size_t C = of.channels;
  ChannelMixWeights w{C, of.mix(prefix + "channel_mix", receptance ? 2 : 1), of.matrix(prefix + "ffn.key", C, 0),
                      nullptr, nullptr};
  if (receptance) w.receptance = of.matrix(prefix + "ffn.receptance", C, C);
  w.value = of.matrix(prefix + "ffn.value", w.key->outputs, C);
  return std::make_unique<ChannelMix>(std::move(w));
}

}  // namespace

ModelWeights model_weights(const Call& from, const Kernels& kernels, const Architecture& architecture) {
  const WeightSource of(from, kernels);
  HeadWeights head{of.norm("ln_out"), of.matrix("head", of.channels, 0)};
  ModelWeights w{{}, Head(std::move(head))};
  const std::unique_ptr<BlockReader> blocks = architecture.reader(of);
  size_t key_size = 0;
  for (size_t i = 0; i < of.layers; ++i) {
    const std::string prefix = prefix_of(i);
    LayerWeights layer{of.channels, of.norm(prefix + "ln1"), of.norm(prefix + "ln2"), nullptr, nullptr, nullptr};
    layer.time = blocks->time_mix(i);
    layer.channel = channel_mix_of(of, prefix, architecture.receptance);
    if (of.interval) layer.medium = medium_of(of, prefix + "medium.", key_size);
    w.layers.emplace_back(std::move(layer));
  }
  return w;
}

}  // namespace rrwkv
