#include "model/rwkv7/time_mix.h"
#include "weights/heads.h"

namespace rrwkv {
namespace {

class Reader : public HeadsReader {
 public:
  explicit Reader(const WeightSource& source) : HeadsReader(source, "blocks.0.att.r_k") {}

  std::unique_ptr<TimeMix> time_mix(size_t layer) const override {
    const size_t C = of_.channels;
    const std::string prefix = prefix_of(layer) + "att.";
    const auto low = [&](const char* z) { return low_rank(prefix + z + "1", prefix + z + "2"); };
    rwkv7::TimeMixWeights w{};
    w.heads = heads(prefix, layer);
    w.mix = of_.mix(prefix_of(layer) + "time_mix", 6);
    w.receptance = of_.matrix(prefix + "receptance", C, C);
    w.key = of_.matrix(prefix + "key", C, C);
    w.value = of_.matrix(prefix + "value", C, C);
    w.output = of_.matrix(prefix + "output", C, C);
    w.w = low("w");
    w.a = low("a");
    w.g = low("g");
    if (layer) w.v = low("v");
    return std::make_unique<rwkv7::TimeMix>(std::move(w));
  }

 private:
  rwkv7::HeadsWeights heads(const std::string& prefix, size_t layer) const {
    const auto vector = [&](const char* name) { return of_.vector(prefix + name); };
    return {heads_,
            size_,
            vector("w0"),
            vector("a0"),
            layer ? vector("v0") : nullptr,
            *of_.from.values("decay_scale", {}),
            {vector("k_k"), vector("k_a"), vector("k_a_rest"), *of_.from.values("shortest", {})},
            {group_norm(prefix), by_head(prefix + "r_k")}};
  }
};

}  // namespace

const Architecture kRWKV7{"matrix", false, [](const WeightSource& of) -> std::unique_ptr<BlockReader> {
                            return std::make_unique<Reader>(of);
                          }};

}  // namespace rrwkv
