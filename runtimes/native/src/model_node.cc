#include "model_node.h"

#include <string>

#include "weights.h"

namespace rrwkv {

ModelNode::ModelNode(const Api& api, const Inputs& inputs, const Settings& settings)
    : Node(api, settings),
      model_(model_weights(inputs)),
      places_{inputs.place("x"), inputs.place("shift"), inputs.place("wkv"), 0, 0, 0} {
  if (!model_.weights().has_mediums()) return;
  places_.position = inputs.place("position");
  places_.sum = inputs.place("medium_sum");
  places_.weight = inputs.place("medium_weight");
}

ModelRun ModelNode::run_of(OrtKernelContext* context, size_t slots) const {
  const size_t L = layers(), C = channels(), rows = model_.wkv_rows();
  const auto [l, c] = std::pair(static_cast<int64_t>(L), static_cast<int64_t>(C));
  ModelRun run{input(context, places_.shift, L * 2 * C),
               input(context, places_.wkv, L * rows * C),
               output(context, 1, {l, 2, c}),
               output(context, 2, {l, static_cast<int64_t>(rows), c}),
               {}};
  if (!model_.weights().has_mediums()) return run;
  const int64_t position = whole_number(context, places_.position);
  if (position < 0 || slots == 0) throw std::runtime_error("an input has another shape");
  const float *sum = input(context, places_.sum, L * C), *weight = input(context, places_.weight, L);
  float *new_sum = output(context, 3, {l, 1, c}), *new_weight = output(context, 4, {l, 1, 1});
  for (size_t i = 0; i < L; ++i)
    run.mediums.push_back({{sum + C * i, weight + i, nullptr, nullptr},
                           {new_sum + C * i, new_weight + i, nullptr, nullptr},
                           slots,
                           static_cast<size_t>(position)});
  return run;
}

float* ModelNode::logits(OrtKernelContext* context, size_t scored) const {
  const size_t vocabulary = model_.weights().head.weights().matrix->outputs;
  return output(context, 0, {static_cast<int64_t>(scored), static_cast<int64_t>(vocabulary)});
}

StepNode::StepNode(const Api& api, const OrtKernelInfo* info, const Settings& settings)
    : StepNode(api, Inputs(api, info), settings) {}

StepNode::StepNode(const Api& api, const Inputs& inputs, const Settings& settings) : ModelNode(api, inputs, settings) {
  if (!model_.weights().has_mediums()) return;
  for (size_t i = 0; i < layers(); ++i) {
    banks_.push_back(inputs.place("medium_bank." + std::to_string(i)));
    keys_.push_back(inputs.place("medium_key." + std::to_string(i)));
  }
}

void StepNode::run(OrtKernelContext* context) const {
  const float* x = input(context, places_.x, channels());
  const size_t slots = banks_.empty() ? 0 : value(context, banks_.front()).count() / channels();
  ModelRun run = run_of(context, slots);
  for (size_t i = 0; i < banks_.size(); ++i) {
    run.mediums[i].before.bank = input(context, banks_[i], slots * channels());
    run.mediums[i].before.key = input(context, keys_[i], slots * key_size());
  }
  float* given = logits(context, 1);
  together(context, [&](const Threads& threads) { model_.run(x, run, 1, {1, true, false, threads}, given); });
}

PrefillNode::PrefillNode(const Api& api, const OrtKernelInfo* info, const Settings& settings)
    : PrefillNode(api, Inputs(api, info), settings) {}

PrefillNode::PrefillNode(const Api& api, const Inputs& inputs, const Settings& settings)
    : ModelNode(api, inputs, settings), num_logits_(inputs.place("num_logits")) {
  if (!model_.weights().has_mediums()) return;
  bank_ = inputs.place("medium_bank");
  key_ = inputs.place("medium_key");
}

void PrefillNode::run(OrtKernelContext* context) const {
  const size_t L = layers(), C = channels();
  const size_t tokens = value(context, places_.x).count() / C;
  const float* x = input(context, places_.x, tokens * C);
  const int64_t scored = whole_number(context, num_logits_);
  if (scored < 1 || scored > static_cast<int64_t>(tokens)) throw std::runtime_error("num_logits must be 1 to T");
  const bool mediums = model_.weights().has_mediums();
  const size_t slots = mediums ? value(context, bank_).count() / (L * C) : 0;
  ModelRun run = run_of(context, slots);
  if (mediums) {
    const size_t K = slots, R = key_size();
    const auto [l, k] = std::pair(static_cast<int64_t>(L), static_cast<int64_t>(K));
    const float *bank = input(context, bank_, L * K * C), *key = input(context, key_, L * K * R);
    float* new_bank = output(context, 5, {l, k, static_cast<int64_t>(C)});
    float* new_key = output(context, 6, {l, k, static_cast<int64_t>(R)});
    for (size_t i = 0; i < L; ++i) {
      MediumRun& medium = run.mediums[i];
      medium.before.bank = bank + i * K * C;
      medium.before.key = key + i * K * R;
      medium.after.bank = new_bank + i * K * C;
      medium.after.key = new_key + i * K * R;
    }
  }
  const auto count = static_cast<size_t>(scored);
  float* given = logits(context, count);
  together(context,
           [&](const Threads& threads) { model_.run(x, run, count, {tokens, false, settings_.amx, threads}, given); });
}

}  // namespace rrwkv
