#include "wasm/session.h"

#include <algorithm>
#include <utility>

#include "weights/model.h"

namespace rrwkv {
namespace {

// What is computed on the way is as wide as the widest constant: values of all tokens of a run, so that a few times
// their bytes are counted in 32 bits.
constexpr size_t kMostValues = 1 << 26, kMostTokens = 1 << 16;

const Architecture& architecture_of(const std::string& named) {
  if (named == "Prefill") return kRWKV4;
  if (named == "PrefillRWKV5") return kRWKV5;
  if (named == "PrefillRWKV6") return kRWKV6;
  if (named == "PrefillRWKV7") return kRWKV7;
  throw std::runtime_error("no kernel for calls of " + named);
}

}  // namespace

Session::Session(const std::string& named, const HostCall& call, size_t slots)
    : model_(model_weights(call, kernels_here(), architecture_of(named))),
      embedding_(embedding_of(call, model_.weights().layer().channels)),
      slots_(slots),
      most_tokens_(std::min(kMostValues / call.widest(), kMostTokens)) {
  const int64_t L = size(model_.weights().layers.size()), C = size(model_.weights().layer().channels);
  shapes_[kShift] = {L, 2, C};
  shapes_[kRecurrent] = {L};
  for (const size_t n : model_.weights().layer().time->state_shape()) shapes_[kRecurrent].push_back(size(n));
  if (has_mediums()) {
    call.given("medium_bank");
    if (slots == 0 || slots > most_tokens_) throw std::runtime_error("the bank of mediums has no size");
    shapes_[kMediumSum] = {L, 1, C};
    shapes_[kMediumWeight] = {L, 1, 1};
    shapes_[kMediumBank] = {L, size(slots), C};
    shapes_[kMediumKey] = {L, size(slots), size(model_.weights().layer().medium->weights().key_size())};
  }
  for (const Shape& shape : shapes_) bytes_of("a state", kFloat, shape);
}

ModelRun Session::run_of(const Run& run) const {
  const size_t L = model_.weights().layers.size(), C = model_.weights().layer().channels;
  ModelRun of{run.before[kShift], run.before[kRecurrent], run.after[kShift], run.after[kRecurrent], {}};
  if (!has_mediums()) return of;
  const size_t bank = slots_ * C, keys = slots_ * model_.weights().layer().medium->weights().key_size();
  const auto& before = run.before;
  const auto& after = run.after;
  for (size_t i = 0; i < L; ++i)
    of.mediums.push_back({{before[kMediumSum] + C * i, before[kMediumWeight] + i, before[kMediumBank] + bank * i,
                           before[kMediumKey] + keys * i},
                          {after[kMediumSum] + C * i, after[kMediumWeight] + i, after[kMediumBank] + bank * i,
                           after[kMediumKey] + keys * i},
                          slots_,
                          static_cast<size_t>(run.position)});
  return of;
}

void Session::run(const Run& run, const Threads& threads) const {
  static Scratch<float> embedded;
  const size_t T = run.tokens, C = model_.weights().layer().channels;
  if (T == 0 || T > most_tokens_ || run.scored == 0 || run.scored > T)
    throw std::runtime_error("a run is of 1 to " + std::to_string(most_tokens_) + " tokens, not " + std::to_string(T));
  float* x = embedded.of(T * C);
  for (size_t t = 0; t < T; ++t) {
    const auto id = static_cast<size_t>(run.ids[t]);
    if (id >= embedding_->tokens) throw std::runtime_error("no token has the id " + std::to_string(run.ids[t]));
    embedding_->look_up(id, x + t * C);
  }
  model_.run(x, run_of(run), run.scored, {T, T == 1, kernels_here(), threads}, run.logits);
}

}  // namespace rrwkv
