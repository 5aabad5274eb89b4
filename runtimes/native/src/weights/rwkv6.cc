#include "model/matrix/float_columns.h"
#include "model/rwkv6/time_mix.h"
#include "weights/heads.h"

namespace rrwkv {
namespace {

constexpr const char kBonus[] = "blocks.0.att.u";

rwkv6::TimeMixWeights matrices(const WeightSource& of, const std::string& prefix, bool gated) {
  const size_t C = of.channels;
  rwkv6::TimeMixWeights w{};
  w.key = of.matrix(prefix + "key", C, C);
  w.value = of.matrix(prefix + "value", C, C);
  w.receptance = of.matrix(prefix + "receptance", C, C);
  if (gated) w.gate = of.matrix(prefix + "gate", C, C);
  w.output = of.matrix(prefix + "output", C, C);
  return w;
}

class RWKV5Reader : public HeadsReader {
 public:
  explicit RWKV5Reader(const WeightSource& source)
      : HeadsReader(source, kBonus), gated_(source.from.size_of("blocks.0.time_mix.now") != 3 * source.channels) {}

  std::unique_ptr<TimeMix> time_mix(size_t layer) const override {
    const std::string prefix = prefix_of(layer) + "att.";
    rwkv6::TimeMixWeights w = matrices(of_, prefix, gated_);
    w.heads = {heads_, size_, by_head(prefix + "w"), nullptr, by_head(prefix + "u"), group_norm(prefix)};
    w.mix = of_.mix(prefix_of(layer) + "time_mix", gated_ ? 4 : 3);
    return std::make_unique<rwkv6::TimeMix>(std::move(w));
  }

 private:
  bool gated_;  // not 5.0
};

class RWKV6Reader : public HeadsReader {
 public:
  explicit RWKV6Reader(const WeightSource& source) : HeadsReader(source, kBonus) {}

  std::unique_ptr<TimeMix> time_mix(size_t layer) const override {
    const std::string prefix = prefix_of(layer) + "att.";
    rwkv6::TimeMixWeights w = matrices(of_, prefix, true);
    w.heads = {heads_, size_, nullptr, of_.vector(prefix + "w0"), by_head(prefix + "u"), group_norm(prefix)};
    w.mix = of_.mix(prefix_of(layer) + "time_mix", rwkv6::kMoved + 2);
    w.moves = moves(prefix);
    w.w = low_rank(prefix + "time_decay_w1", prefix + "time_decay_w2");
    return std::make_unique<rwkv6::TimeMix>(std::move(w));
  }

 private:
  // time_maa_w2 float32 [5, rank, C]
  rwkv6::Moves moves(const std::string& prefix) const {
    const std::string name = prefix + "time_maa_w2";
    const size_t C = of_.channels;
    const Value& up = of_.from.constant(name);
    expect_exactly(up, name, kFloat, {rwkv6::kMoved, kAny, size(C)});
    const auto rank = static_cast<size_t>(up.shape[1]);
    rwkv6::Moves moves;
    moves.down = of_.matrix(prefix + "time_maa_w1", C, rwkv6::kMoved * rank);
    for (size_t q = 0; q < rwkv6::kMoved; ++q)
      moves.up[q] = std::make_unique<Float32>(of_.kernels, static_cast<const float*>(up.data) + q * rank * C, rank, C);
    return moves;
  }
};

}  // namespace

const Architecture kRWKV5{"matrix", true, [](const WeightSource& of) -> std::unique_ptr<BlockReader> {
                            return std::make_unique<RWKV5Reader>(of);
                          }};
const Architecture kRWKV6{"matrix", true, [](const WeightSource& of) -> std::unique_ptr<BlockReader> {
                            return std::make_unique<RWKV6Reader>(of);
                          }};

}  // namespace rrwkv
