#include "weights/rwkv4.h"

#include "model/rwkv4/time_mix.h"
#include "weights/architecture.h"

namespace rrwkv {
namespace {

class Reader : public BlockReader {
 public:
  using BlockReader::BlockReader;

  std::unique_ptr<TimeMix> time_mix(size_t layer) const override {
    const size_t C = of_.channels;
    const std::string prefix = prefix_of(layer);
    rwkv4::TimeMixWeights w{};
    w.channels = C;
    w.wkv = wkv_weights(of_.from, prefix, C, !of_.from.has("least_exp"), decay(layer));
    w.mix = of_.mix(prefix + "time_mix", 3);
    w.key = of_.matrix(prefix + "att.key", C, C);
    w.value = of_.matrix(prefix + "att.value", C, C);
    w.receptance = of_.matrix(prefix + "att.receptance", C, C);
    w.output = of_.matrix(prefix + "att.output", C, C);
    return std::make_unique<rwkv4::TimeMix>(std::move(w));
  }

 private:
  // In the plain form of wkv; of one token all layers' states decay at once.
  const float* decay(size_t layer) const {
    if (!of_.from.has("decays")) return nullptr;
    return of_.from.values("decays", {size(of_.layers), size(of_.channels)}) + layer * of_.channels;
  }
};

}  // namespace

Wkv wkv_weights(const Call& from, const std::string& prefix, size_t C, bool stable, const float* decay) {
  Wkv w{C, stable, 0, 0, from.values(prefix + "bonus", {size(C)}), decay};
  if (!decay) w.decay = from.values(prefix + "decay", {size(C)});
  if (!stable) {
    w.least_exp = *from.values("least_exp", {});
    w.most_exp = *from.values("most_exp", {});
  }
  return w;
}

const Architecture kRWKV4{
    "wkv", true, [](const WeightSource& of) -> std::unique_ptr<BlockReader> { return std::make_unique<Reader>(of); }};

}  // namespace rrwkv
