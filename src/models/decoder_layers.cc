#include "models/decoder_layers.h"

#include <algorithm>

#include "models/model.h"

namespace ingot::models {
namespace {

void Tap(const DecoderLayers::Step& step, LinearInput input, const TensorView& x) {
  if (step.tap == nullptr) return;
  ops::Backend& backend = *step.context.backend;
  (*step.tap)(input, -1, backend.ReadBack(x), x.shape[0]);
  backend.WriteBack(x);
}

// The same of each expert's rows.
void TapExperts(const DecoderLayers::Step& step, LinearInput input, const TensorView& x) {
  if (step.tap == nullptr) return;
  ops::Backend& backend = *step.context.backend;
  const TensorView& begins = step.a.routing.expert_begin;
  std::vector<int32_t> begin(static_cast<size_t>(begins.shape[0]));
  backend.Download(begin.data(), begins.Data<std::byte>(), begins.bytes());
  float* const rows = backend.ReadBack(x);
  for (size_t e = 0; e + 1 < begin.size(); ++e) {
    const int32_t count = begin[e + 1] - begin[e];
    if (count > 0) (*step.tap)(input, static_cast<int>(e), rows + begin[e] * x.shape[1], count);
  }
  backend.WriteBack(x);
}

}  // namespace

Result<DecoderLayers> DecoderLayers::Make(const ModelSpec& spec, int64_t session_len, ops::Backend& backend) {
  DecoderLayers layers(spec);
  for (const KvGroup& group : KvGroupsOf(spec)) {
    INGOT_RETURN_IF_ERROR(backend.CheckAttention({.head_dim = group.head_dim}));
  }
  for (const RopeSpec& rope : spec.ropes) {
    const RopeFrequencies f = MakeRopeFrequencies(rope, spec.rotary_dim, spec.max_position, session_len);
    INGOT_ASSIGN_OR_RETURN(Tensor inv_freq, ops::AllocateTensor(backend, DType::kF64, {std::ssize(f.inv_freq)}));
    backend.Upload(inv_freq.Data<std::byte>(), f.inv_freq.data(), inv_freq.view().bytes());
    layers.ropes_.push_back({std::move(inv_freq), f.factor});
  }
  return layers;
}

DecoderLayers::Step DecoderLayers::Begin(const ops::Context& context, const ops::StepBatch& batch,
                                         std::span<const ops::KvView> kv) const {
  const ActivationSizes sizes{batch.num_tokens(), std::ssize(batch.logits_rows), context.backend->activation_dtype()};
  Step step{.context = context,
            .batch = ops::BeginStep(context, batch, kv),
            .a = TakeActivations(*spec_, sizes, *context.scratch)};
  for (size_t i = 0; i < ropes_.size(); ++i) {
    const int64_t begin = static_cast<int64_t>(i) * step.batch.num_tokens;
    ops::RopeAngles(context, step.batch.positions, {ropes_[i].inv_freq, ropes_[i].factor},
                    step.a.cos.Rows(begin, step.batch.num_tokens), step.a.sin.Rows(begin, step.batch.num_tokens));
  }
  return step;
}

int64_t LinearBytes(const ops::Backend& backend, const LayerWeights& layer, int64_t max_tokens) {
  int64_t most = 0;
  for (const ops::FusedLinear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down, &layer.router}) {
    most = std::max(most, backend.LinearBytes(max_tokens, linear->parts));
  }
  for (const auto* experts : {&layer.expert_gate_up, &layer.expert_down}) {
    // An expert may be chosen by all tokens, but by each only once.
    for (const ops::FusedLinear& linear : *experts) {
      most = std::max(most, backend.LinearBytes(max_tokens, linear.parts));
    }
  }
  return most;
}

void DecoderLayers::Run(const Step& step, int layer, const LayerWeights& w, ops::KvPlace place) const {
  const ops::Context& context = step.context;
  const Activations& a = step.a;
  const float eps = spec_->norm_eps;

  ops::RmsNorm(context, a.hidden, {w.attention_norm, eps}, a.normed);
  SelfAttention(step, layer, w, place);
  if (spec_->post_norms) ops::RmsNorm(context, a.branch, {w.post_attention_norm, eps}, a.branch);

  ops::AddRmsNorm(context, a.branch, a.hidden, {w.mlp_norm, eps}, a.normed);
  spec_->layers[static_cast<size_t>(layer)].moe ? Mixture(step, w) : Mlp(step, w);
  if (spec_->post_norms) ops::RmsNorm(context, a.branch, {w.post_mlp_norm, eps}, a.branch);

  ops::Add(context, a.branch, a.hidden);
}

void DecoderLayers::SelfAttention(const Step& step, int layer, const LayerWeights& w, ops::KvPlace place) const {
  const Activations& a = step.a;
  const int64_t num_tokens = step.batch.num_tokens;
  const int rope = spec_->layers[static_cast<size_t>(layer)].rope;
  Tap(step, LinearInput::kQkv, a.normed);
  ops::Linear(step.context, a.normed, w.qkv, a.qkv);
  ops::RopeKvWrite(step.context, step.batch,
                   {.qkv = a.qkv,
                    .cos = rope < 0 ? TensorView() : a.cos.Rows(rope * num_tokens, num_tokens),
                    .sin = rope < 0 ? TensorView() : a.sin.Rows(rope * num_tokens, num_tokens),
                    .q_norm = w.q_norm.view(),
                    .k_norm = w.k_norm.view(),
                    .norm_eps = spec_->norm_eps,
                    .place = place});
  ops::Attention(step.context, step.batch,
                 {.qkv = a.qkv,
                  .out = a.attended,
                  .place = place,
                  .scale = spec_->attention_scale,
                  .softcap = spec_->attention_softcap});
  Tap(step, LinearInput::kO, a.attended);
  ops::Linear(step.context, a.attended, w.o, a.branch);
}

void DecoderLayers::Mlp(const Step& step, const LayerWeights& w) const {
  const Activations& a = step.a;
  Tap(step, LinearInput::kGateUp, a.normed);
  ops::Linear(step.context, a.normed, w.gate_up, a.gate_up);
  ops::ActMul(step.context, a.gate_up, spec_->activation, a.activated);
  Tap(step, LinearInput::kDown, a.activated);
  ops::Linear(step.context, a.activated, w.down, a.branch);
}

// Each token goes through the few experts that its router prefers.
void DecoderLayers::Mixture(const Step& step, const LayerWeights& w) const {
  const Activations& a = step.a;
  const ops::RouteRule rule{spec_->experts_per_token, spec_->normalize_topk};
  Tap(step, LinearInput::kRouter, a.normed);
  ops::Linear(step.context, a.normed, w.router, a.router_logits);
  ops::Route(step.context, a.router_logits, rule, a.routing);
  ops::GatherRows(step.context, a.normed, a.routing.token_of, a.expert_in);
  TapExperts(step, LinearInput::kGateUp, a.expert_in);
  ops::ExpertLinear(step.context, a.expert_in, a.routing, w.expert_gate_up, a.expert_gate_up);
  ops::ActMul(step.context, a.expert_gate_up, spec_->activation, a.expert_activated);
  TapExperts(step, LinearInput::kDown, a.expert_activated);
  ops::ExpertLinear(step.context, a.expert_activated, a.routing, w.expert_down, a.expert_out);
  ops::CombineExperts(step.context, a.expert_out, a.routing, a.branch);
}

void DecoderLayers::Logits(const Step& step, const Tensor& final_norm, const ops::PackedWeight& head,
                           const TensorView& logits) const {
  const Activations& a = step.a;
  if (a.last.shape[0] == 0) return;
  ops::GatherRows(step.context, a.hidden, step.batch.logits_rows, a.last);
  ops::RmsNorm(step.context, a.last, {final_norm, spec_->norm_eps}, a.last_norm);
  ops::Linear(step.context, a.last_norm, head, logits);
  if (spec_->logit_softcap > 0.0f) ops::Softcap(step.context, logits, spec_->logit_softcap);
}

}  // namespace ingot::models
