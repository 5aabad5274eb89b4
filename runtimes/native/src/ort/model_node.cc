#include "ort/model_node.h"

#include <limits>
#include <string>

#include "exec/reading.h"
#include "weights/model.h"

namespace rrwkv {
namespace {

constexpr size_t kLastPosition = std::numeric_limits<int64_t>::max();

// K, of a bank of so many values. Raises std::runtime_error.
size_t slots_of(size_t values, size_t values_of_a_slot) {
  if (values < values_of_a_slot) throw std::runtime_error("the bank of mediums has no slots");
  return values / values_of_a_slot;
}

Given given_if(bool there, const NodeInfo& info, const char* name) { return there ? info.given(name) : Given{}; }

}  // namespace

ModelNode::ModelNode(const Api& api, const NodeInfo& info, const Settings& settings, const Architecture& architecture)
    : Node(api, settings),
      model_(model_weights(info, *settings.kernels, architecture)),
      x_(info.given("x")),
      shift_(info.given("shift")),
      recurrent_(info.given(architecture.state)),
      position_(given_if(has_mediums(), info, "position")),
      sum_(given_if(has_mediums(), info, "medium_sum")),
      weight_(given_if(has_mediums(), info, "medium_weight")) {}

bool ModelNode::large() const {
  constexpr size_t kLarge = 64 << 20;  // weights, about
  const size_t C = channels(), V = model_.weights().head.weights().matrix->outputs;
  return C * (V + 12 * C * layers()) >= kLarge;
}

Shape ModelNode::state_shape() const {
  Shape shape{size(layers())};
  for (const size_t n : model_.weights().layer().time->state_shape()) shape.push_back(size(n));
  return shape;
}

ModelRun ModelNode::run_of(OrtKernelContext* context, size_t slots) const {
  const size_t L = layers(), C = channels();
  const Shape kept = state_shape();
  ModelRun run{input(context, shift_, {L, 2, C}),
               input(context, recurrent_, kept),
               output(context, 1, {L, 2, C}),
               output(context, 2, kept),
               {}};
  if (!has_mediums()) return run;
  const size_t position = whole_number(context, position_, 0, kLastPosition);
  const float *sum = input(context, sum_, {L, C}), *weight = input(context, weight_, {L});
  float *new_sum = output(context, 3, {L, 1, C}), *new_weight = output(context, 4, {L, 1, 1});
  for (size_t i = 0; i < L; ++i)
    run.mediums.push_back({{sum + C * i, weight + i, nullptr, nullptr},
                           {new_sum + C * i, new_weight + i, nullptr, nullptr},
                           slots,
                           position});
  return run;
}

float* ModelNode::logits(OrtKernelContext* context, size_t scored) const {
  return output(context, 0, {scored, model_.weights().head.weights().matrix->outputs});
}

StepNode::StepNode(const Api& api, const OrtKernelInfo* info, const Settings& settings,
                   const Architecture& architecture)
    : StepNode(api, NodeInfo(api, info), settings, architecture) {}

StepNode::StepNode(const Api& api, const NodeInfo& info, const Settings& settings, const Architecture& architecture)
    : ModelNode(api, info, settings, architecture) {
  info.expect_outputs(has_mediums() ? 5 : 3);
  if (!has_mediums()) return;
  for (size_t i = 0; i < layers(); ++i) {
    banks_.push_back(info.given("medium_bank." + std::to_string(i)));
    keys_.push_back(info.given("medium_key." + std::to_string(i)));
  }
}

void StepNode::run(OrtKernelContext* context) const {
  const size_t C = channels();
  const float* x = input(context, x_, {C});
  const size_t slots = banks_.empty() ? 0 : slots_of(value(context, banks_.front()).count, C);
  ModelRun run = run_of(context, slots);
  for (size_t i = 0; i < banks_.size(); ++i) {
    run.mediums[i].before.bank = input(context, banks_[i], {slots, C});
    run.mediums[i].before.key = input(context, keys_[i], {slots, key_size()});
  }
  float* given = logits(context, 1);
  const ReadingTrial trial(large());
  together(context,
           [&](const Threads& threads) { model_.run(x, run, 1, {1, true, *settings_.kernels, threads}, given); });
}

PrefillNode::PrefillNode(const Api& api, const OrtKernelInfo* info, const Settings& settings,
                         const Architecture& architecture)
    : PrefillNode(api, NodeInfo(api, info), settings, architecture) {}

PrefillNode::PrefillNode(const Api& api, const NodeInfo& info, const Settings& settings,
                         const Architecture& architecture)
    : ModelNode(api, info, settings, architecture),
      num_logits_(info.given("num_logits")),
      bank_(given_if(has_mediums(), info, "medium_bank")),
      key_(given_if(has_mediums(), info, "medium_key")) {
  info.expect_outputs(has_mediums() ? 7 : 3);
}

void PrefillNode::give_mediums(OrtKernelContext* context, ModelRun& run, size_t K) const {
  const size_t L = layers(), C = channels(), R = key_size();
  const float *bank = input(context, bank_, {L, K, C}), *key = input(context, key_, {L, K, R});
  float *new_bank = output(context, 5, {L, K, C}), *new_key = output(context, 6, {L, K, R});
  for (size_t i = 0; i < L; ++i) {
    MediumRun& medium = run.mediums[i];
    medium.before.bank = bank + i * K * C;
    medium.before.key = key + i * K * R;
    medium.after.bank = new_bank + i * K * C;
    medium.after.key = new_key + i * K * R;
  }
}

void PrefillNode::run(OrtKernelContext* context) const {
  const size_t C = channels(), T = value(context, x_).count / C;
  const float* x = input(context, x_, {T, C});
  const size_t scored = whole_number(context, num_logits_, 1, T);
  const size_t slots = has_mediums() ? slots_of(value(context, bank_).count, layers() * C) : 0;
  ModelRun run = run_of(context, slots);
  if (has_mediums()) give_mediums(context, run, slots);
  float* given = logits(context, scored);
  together(context,
           [&](const Threads& threads) { model_.run(x, run, scored, {T, false, *settings_.kernels, threads}, given); });
}

}  // namespace rrwkv
