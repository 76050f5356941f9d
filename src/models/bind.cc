#include "models/bind.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "models/checkpoint_names.h"
#include "models/row_order.h"

namespace ingot::models {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Status CheckShape(const formats::TensorEntry* entry, const std::string& name, const std::vector<int64_t>& wanted) {
  if (!entry) return InvalidArgument("tensor {} is missing; it should be {}", name, ShapeText(wanted));
  if (entry->shape == wanted) return Status();
  return InvalidArgument("tensor {} is {}; the configuration asks for {}", name, ShapeText(entry->shape),
                         ShapeText(wanted));
}

std::vector<float> TakeRows(const std::vector<float>& values, const std::vector<int32_t>& index) {
  std::vector<float> taken;
  for (int32_t i : index) taken.push_back(values[static_cast<size_t>(i)]);
  return taken;
}

}  // namespace

std::string Binder::Name(const char* pattern, int64_t layer, int64_t expert) const {
  return prefix_.body + Numbered(pattern, layer, expert);
}

bool Binder::Has(const char* pattern, int64_t layer, int64_t expert) const {
  return pattern && checkpoint_.Find(Name(pattern, layer, expert) + ".weight") != nullptr;
}

Result<Binder::Matrix> Binder::Find(const Wanted& wanted) {
  const std::string name = wanted.name + ".weight";
  const formats::TensorEntry* entry = checkpoint_.Find(name);
  INGOT_RETURN_IF_ERROR(CheckShape(entry, name, {wanted.rows, wanted.cols}));
  used_.insert(name);
  INGOT_ASSIGN_OR_RETURN(WeightSourcePtr source, checkpoint_.Weight(name));
  return Matrix{wanted.name, std::move(source), static_cast<int64_t>(entry->bytes.size())};
}

Result<Binder::Matrix> Binder::FindStack(const std::string& name, int64_t rows, int64_t cols) {
  const std::string full = names_->experts_have_suffix ? name + ".weight" : name;
  const formats::TensorEntry* entry = checkpoint_.Find(full);
  INGOT_RETURN_IF_ERROR(CheckShape(entry, full, {spec_.num_experts, rows, cols}));
  used_.insert(full);
  INGOT_ASSIGN_OR_RETURN(WeightSourcePtr source, checkpoint_.Weight(full));
  return Matrix{name, std::move(source), static_cast<int64_t>(entry->bytes.size())};
}

Result<std::vector<float>> Binder::Numbers(const std::string& name, int64_t size) {
  INGOT_RETURN_IF_ERROR(CheckShape(checkpoint_.Find(name), name, {size}));
  used_.insert(name);
  return checkpoint_.Floats(name, size);
}

Result<std::vector<float>> Binder::Norm(const char* pattern, int64_t layer, int64_t size) {
  INGOT_CHECK(pattern != nullptr);
  INGOT_ASSIGN_OR_RETURN(std::vector<float> norm, Numbers(Name(pattern, layer) + ".weight", size));
  if (spec_.norm_plus_one) {
    for (float& weight : norm) weight += 1.0f;
  }
  return norm;
}

void Binder::Fuse(const std::string& label, std::vector<Matrix> parts, FusedLinear* linear) {
  std::vector<WeightSourcePtr> sources;
  int64_t bytes = 0;
  for (const Matrix& part : parts) {
    sources.push_back(part.source);
    bytes += part.bytes;
  }
  WeightSourcePtr whole = sources.size() == 1 ? sources[0] : ConcatRows(sources);
  if (whole) parts = {{parts.size() == 1 ? parts[0].name : label, std::move(whole), bytes}};
  linear->parts.resize(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    jobs_.push_back({parts[i].name, std::move(parts[i].source), &linear->parts[i], parts[i].bytes});
  }
}

Status Binder::BindLinear(const Wanted& wanted, bool bias, FusedLinear* linear) {
  INGOT_ASSIGN_OR_RETURN(Matrix matrix, Find(wanted));
  Fuse(wanted.name, {std::move(matrix)}, linear);
  if (!bias) return Status();
  INGOT_ASSIGN_OR_RETURN(linear->bias, Numbers(wanted.name + ".bias", wanted.rows));
  return Status();
}

Status Binder::BindNorms(int layer, LayerWeights* weights) {
  const int64_t hidden = spec_.hidden_size;
  INGOT_ASSIGN_OR_RETURN(weights->attention_norm, Norm(names_->attention_norm, layer, hidden));
  INGOT_ASSIGN_OR_RETURN(weights->mlp_norm, Norm(names_->mlp_norm, layer, hidden));
  if (spec_.post_norms) {
    INGOT_ASSIGN_OR_RETURN(weights->post_attention_norm, Norm(names_->post_attention_norm, layer, hidden));
    INGOT_ASSIGN_OR_RETURN(weights->post_mlp_norm, Norm(names_->post_mlp_norm, layer, hidden));
  }
  if (spec_.qk_norm) {
    INGOT_ASSIGN_OR_RETURN(weights->q_norm, Norm(names_->q_norm, layer, spec_.head_dim));
    INGOT_ASSIGN_OR_RETURN(weights->k_norm, Norm(names_->k_norm, layer, spec_.head_dim));
  }
  return Status();
}

Status Binder::BindQkv(int layer, LayerWeights* weights) {
  const int64_t q_rows = int64_t{spec_.num_heads} * spec_.head_dim;
  const int64_t kv_rows = int64_t{spec_.num_kv_heads} * spec_.head_dim;
  const int64_t rows = q_rows + 2 * kv_rows;
  if (Has(names_->qkv, layer)) {
    return BindLinear({Name(names_->qkv, layer), rows, spec_.hidden_size}, spec_.qkv_bias, &weights->qkv);
  }
  if (names_->qkv_grouped) {
    const std::string name = Name(names_->qkv_grouped, layer);
    INGOT_ASSIGN_OR_RETURN(Matrix matrix, Find({name, rows, spec_.hidden_size}));
    const std::vector<int32_t> order = UngroupedQkvRows(spec_.num_heads, spec_.num_kv_heads, spec_.head_dim);
    matrix.source = SelectRows(std::move(matrix.source), order);
    Fuse(name, {std::move(matrix)}, &weights->qkv);
    if (!spec_.qkv_bias) return Status();
    INGOT_ASSIGN_OR_RETURN(const std::vector<float> bias, Numbers(name + ".bias", rows));
    weights->qkv.bias = TakeRows(bias, order);
    return Status();
  }
  std::vector<Matrix> parts;
  for (const char* pattern : {names_->q, names_->k, names_->v}) {
    const std::string name = Name(pattern, layer);
    const int64_t part_rows = pattern == names_->q ? q_rows : kv_rows;
    const bool permuted = interleaved_ && pattern != names_->v;
    INGOT_ASSIGN_OR_RETURN(Matrix part, Find({name, part_rows, spec_.hidden_size}));
    const auto heads = static_cast<int>(part_rows / spec_.head_dim);
    const std::vector<int32_t> order =
        permuted ? SplitHalvesRows(heads, spec_.head_dim, spec_.rotary_dim) : std::vector<int32_t>();
    if (permuted) part.source = SelectRows(std::move(part.source), order);
    parts.push_back(std::move(part));
    if (!spec_.qkv_bias) continue;
    INGOT_ASSIGN_OR_RETURN(std::vector<float> bias, Numbers(name + ".bias", part_rows));
    if (permuted) bias = TakeRows(bias, order);
    weights->qkv.bias.insert(weights->qkv.bias.end(), bias.begin(), bias.end());
  }
  Fuse(Name("layers.{}.qkv", layer), std::move(parts), &weights->qkv);
  return Status();
}

Status Binder::BindMlp(int layer, LayerWeights* weights) {
  const int64_t hidden = spec_.hidden_size, inner = spec_.intermediate_size;
  if (Has(names_->gate, layer) || !Has(names_->gate_up, layer)) {
    std::vector<Matrix> parts;
    for (const char* pattern : {names_->gate, names_->up}) {
      INGOT_ASSIGN_OR_RETURN(Matrix part, Find({Name(pattern, layer), inner, hidden}));
      parts.push_back(std::move(part));
      if (!spec_.mlp_bias) continue;
      INGOT_ASSIGN_OR_RETURN(const std::vector<float> bias, Numbers(Name(pattern, layer) + ".bias", inner));
      weights->gate_up.bias.insert(weights->gate_up.bias.end(), bias.begin(), bias.end());
    }
    Fuse(Name("layers.{}.gate_up", layer), std::move(parts), &weights->gate_up);
  } else {
    INGOT_RETURN_IF_ERROR(
        BindLinear({Name(names_->gate_up, layer), 2 * inner, hidden}, spec_.mlp_bias, &weights->gate_up));
  }
  return BindLinear({Name(names_->down, layer), hidden, inner}, spec_.mlp_bias, &weights->down);
}

Status Binder::BindMixture(int layer, LayerWeights* weights) {
  INGOT_RETURN_IF_ERROR(
      BindLinear({Name(names_->router, layer), spec_.num_experts, spec_.hidden_size}, false, &weights->router));
  weights->expert_gate_up.resize(static_cast<size_t>(spec_.num_experts));
  weights->expert_down.resize(static_cast<size_t>(spec_.num_experts));
  const bool stacked = names_->experts_down && !Has(names_->expert_gate, layer, 0);
  return stacked ? BindStackedExperts(layer, weights) : BindExperts(layer, weights);
}

Status Binder::BindExperts(int layer, LayerWeights* weights) {
  const int64_t hidden = spec_.hidden_size, inner = spec_.moe_intermediate_size;
  for (int e = 0; e < spec_.num_experts; ++e) {
    const auto expert = static_cast<size_t>(e);
    INGOT_ASSIGN_OR_RETURN(Matrix gate, Find({Name(names_->expert_gate, layer, e), inner, hidden}));
    INGOT_ASSIGN_OR_RETURN(Matrix up, Find({Name(names_->expert_up, layer, e), inner, hidden}));
    Fuse(Name("layers.{}.experts.{}.gate_up", layer, e), {std::move(gate), std::move(up)},
         &weights->expert_gate_up[expert]);
    INGOT_RETURN_IF_ERROR(
        BindLinear({Name(names_->expert_down, layer, e), hidden, inner}, false, &weights->expert_down[expert]));
  }
  return Status();
}

Status Binder::BindStackedExperts(int layer, LayerWeights* weights) {
  const int64_t hidden = spec_.hidden_size, inner = spec_.moe_intermediate_size;
  std::vector<Matrix> stacks;  // gate and up, or both in one
  if (names_->experts_gate_up) {
    INGOT_ASSIGN_OR_RETURN(Matrix both, FindStack(Name(names_->experts_gate_up, layer), 2 * inner, hidden));
    stacks.push_back(std::move(both));
  } else {
    INGOT_ASSIGN_OR_RETURN(Matrix gate, FindStack(Name(names_->experts_gate, layer), inner, hidden));
    INGOT_ASSIGN_OR_RETURN(Matrix up, FindStack(Name(names_->experts_up, layer), inner, hidden));
    stacks = {std::move(gate), std::move(up)};
  }
  INGOT_ASSIGN_OR_RETURN(const Matrix down, FindStack(Name(names_->experts_down, layer), hidden, inner));
  auto slice = [&](const Matrix& stack, int e) {
    const int64_t rows = stack.source->rows() / spec_.num_experts;
    return Matrix{stack.name + "." + std::to_string(e), SliceRows(stack.source, e * rows, rows),
                  stack.bytes / spec_.num_experts};
  };
  for (int e = 0; e < spec_.num_experts; ++e) {
    const auto expert = static_cast<size_t>(e);
    std::vector<Matrix> parts;
    for (const Matrix& stack : stacks) parts.push_back(slice(stack, e));
    Fuse(Name("layers.{}.experts.{}.gate_up", layer, e), std::move(parts), &weights->expert_gate_up[expert]);
    Fuse("", {slice(down, e)}, &weights->expert_down[expert]);
  }
  return Status();
}

Status Binder::BindLayer(int layer, LayerWeights* weights) {
  INGOT_RETURN_IF_ERROR(BindNorms(layer, weights));
  INGOT_RETURN_IF_ERROR(BindQkv(layer, weights));
  const int64_t q_rows = int64_t{spec_.num_heads} * spec_.head_dim;
  INGOT_RETURN_IF_ERROR(BindLinear({Name(names_->o, layer), spec_.hidden_size, q_rows}, spec_.o_bias, &weights->o));
  if (spec_.layers[static_cast<size_t>(layer)].moe) return BindMixture(layer, weights);
  return BindMlp(layer, weights);
}

// GPTQ's tools store a bias of zeros where a layer has none.
bool Binder::IsZeroBias(const formats::TensorEntry& entry) const {
  if (!entry.name.ends_with(".bias") || entry.shape.size() != 1) return false;
  const auto values = checkpoint_.Floats(entry.name);
  return values && std::all_of(values->begin(), values->end(), [](float value) { return value == 0.0f; });
}

Status Binder::CheckNothingIsLeft() const {
  std::string left;
  int count = 0;
  const std::string tied_head = std::string(prefix_.head) + names_->lm_head + ".weight";
  for (const formats::TensorEntry* entry : checkpoint_.tensors()) {
    if (used_.contains(entry->name) || (spec_.tied_embeddings && entry->name == tied_head)) continue;
    const bool ignored = std::any_of(names_->ignored.begin(), names_->ignored.end(), [&](std::string_view part) {
      return entry->name.find(part) != std::string::npos;
    });
    if (ignored || IsZeroBias(*entry)) continue;
    if (++count <= 5) left += (left.empty() ? "" : ", ") + entry->name + " " + ShapeText(entry->shape);
  }
  if (count == 0) return Status();
  return InvalidArgument("{} tensors are no part of a {} model of this configuration: {}{}", count, spec_.family, left,
                         count > 5 ? ", …" : "");
}

Status Binder::Bind(Weights* weights) {
  INGOT_ASSIGN_OR_RETURN(const CheckpointNames names, ChooseNames(checkpoint_, spec_, family_));
  names_ = names.table;
  prefix_ = names.prefix;
  interleaved_ = names.interleaved;
  const Wanted embedding = {Name(names_->embedding), spec_.vocab_size, spec_.hidden_size};
  INGOT_ASSIGN_OR_RETURN(Matrix table, Find(embedding));
  if (table.source->input_order()) return Unsupported("{}: an embedding with reordered columns", table.name);
  jobs_.push_back({table.name, std::move(table.source), &weights->embedding, table.bytes});
  weights->layers.resize(static_cast<size_t>(spec_.num_layers));
  for (int i = 0; i < spec_.num_layers; ++i) {
    INGOT_RETURN_IF_ERROR(BindLayer(i, &weights->layers[static_cast<size_t>(i)]));
  }
  INGOT_ASSIGN_OR_RETURN(weights->final_norm, Norm(names_->final_norm, 0, spec_.hidden_size));
  if (!spec_.tied_embeddings) {
    INGOT_ASSIGN_OR_RETURN(Matrix head,
                           Find({prefix_.head + std::string(names_->lm_head), spec_.vocab_size, spec_.hidden_size}));
    jobs_.push_back({head.name, std::move(head.source), &weights->lm_head, head.bytes});
  }
  return CheckNothingIsLeft();
}

Status Binder::Pack(const ops::Context& context, const LoadOptions& options, std::vector<WeightInfo>* infos) {
  int64_t total = 0, done = 0;
  for (const Job& job : jobs_) total += job.stored_bytes;
  for (Job& job : jobs_) {
    if (options.progress) options.progress(done, total);
    Result<ops::PackedWeight> packed = options.outline ? ops::Outline(*job.source) : ops::Prepack(context, *job.source);
    if (!packed) return packed.error().Annotate(job.name);
    job.source.reset();
    *job.target = *std::move(packed);
    const ops::PackedWeight& held = *job.target;
    infos->push_back(
        {job.name, held.out_features(), held.in_features(), held.source_format(), held.format(), held.bytes()});
    done += job.stored_bytes;
  }
  if (options.progress) options.progress(total, total);
  return Status();
}

}  // namespace ingot::models
