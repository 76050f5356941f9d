// ingot info MODEL
#include <cstdio>
#include <map>
#include <set>

#include "base/json_writer.h"
#include "common.h"
#include "formats/checkpoint.h"
#include "formats/quantized.h"
#include "models/model.h"
#include "ops/backend.h"
#include "text/bytes.h"
#include "tokenizer/tokenizer.h"

namespace ingot::cli {
namespace {

struct InfoFlags {
  std::string model;
  bool json = false, tensors = false;
};

// How a tensor is stored, and how Ingot holds it: the same, or the next wider format with a kernel.
std::string HeldAs(const formats::TensorEntry& tensor, const ops::Backend& backend) {
  const auto format = formats::StoredFormat(tensor);
  if (!format) return "-";
  return tensor.shape.size() >= 2 ? backend.HeldFormat(*format).ToString() : "f32";
}

struct Group {
  int64_t count = 0, bytes = 0;
};
using Groups = std::map<std::pair<std::string, std::string>, Group>;  // (stored as, held as) → …

Groups GroupTensors(const formats::Checkpoint& checkpoint) {
  Groups groups;
  const auto backend = ops::MakeCpuBackend(1);
  for (const formats::TensorEntry* tensor : checkpoint.tensors()) {
    Group& group = groups[{formats::StoredAs(*tensor), HeldAs(*tensor, *backend)}];
    ++group.count;
    group.bytes += formats::StoredBytes(*tensor);
  }
  return groups;
}

std::string TensorJson(const formats::TensorEntry& tensor, const ops::Backend& backend) {
  return JsonObject()
      .Add("name", tensor.name)
      .AddJson("shape", JsonList(tensor.shape))
      .Add("stored", formats::StoredAs(tensor))
      .Add("held", HeldAs(tensor, backend))
      .Add("bytes", formats::StoredBytes(tensor))
      .Text();
}

void PrintJson(const formats::Checkpoint& checkpoint, const models::ModelSpec& spec, const InfoFlags& flags) {
  JsonObject json;
  json.Add("model", checkpoint.path()).Add("family", spec.family).Add("layers", spec.num_layers);
  json.Add("hidden_size", spec.hidden_size).Add("intermediate_size", spec.intermediate_size);
  const models::LayerSpec& heads = spec.heads();
  json.Add("heads", heads.num_heads).Add("kv_heads", heads.num_kv_heads).Add("head_dim", heads.head_dim);
  json.Add("vocab_size", spec.vocab_size).Add("max_position", spec.max_position).Add("experts", spec.num_experts);
  json.Add("tied_embeddings", spec.tied_embeddings).Add("weight_bytes", checkpoint.weight_bytes());
  json.Add("has_chat_template", !checkpoint.chat_template().empty());
  json.AddJson("weights", JsonList(GroupTensors(checkpoint), [](const auto& group) {
                 const auto& [stored, held] = group.first;
                 return JsonObject()
                     .Add("stored", stored)
                     .Add("held", held)
                     .Add("count", group.second.count)
                     .Add("bytes", group.second.bytes)
                     .Text();
               }));
  if (flags.tensors) {
    const auto backend = ops::MakeCpuBackend(1);
    json.AddJson("tensors", JsonList(checkpoint.tensors(), [&](const formats::TensorEntry* tensor) {
                   return TensorJson(*tensor, *backend);
                 }));
  }
  fmt::print("{}\n", json.Text());
}

void PrintText(const formats::Checkpoint& checkpoint, const models::ModelSpec& spec, const InfoFlags& flags) {
  const models::LayerSpec& heads = spec.heads();
  fmt::print("{}\n", checkpoint.path());
  fmt::print("  family      {}, {}\n", spec.family,
             checkpoint.kind() == formats::CheckpointKind::kGguf ? "GGUF" : "Hugging Face");
  fmt::print("  shape       {} layers, hidden {}, intermediate {}, {} heads / {} KV heads of {}\n", spec.num_layers,
             spec.hidden_size, spec.intermediate_size, heads.num_heads, heads.num_kv_heads, heads.head_dim);
  if (spec.num_experts > 0)
    fmt::print("  experts     {} of {} a token, intermediate {}\n", spec.experts_per_token, spec.num_experts,
               spec.moe_intermediate_size);
  fmt::print("  vocabulary  {} tokens{}\n", spec.vocab_size,
             spec.tied_embeddings ? ", embedding tied to the head" : "");
  fmt::print("  context     {} tokens\n", spec.max_position);
  fmt::print("  KV cache    {} a token in fp16\n",
             FormatBytes(2 * spec.num_layers * (heads.k_rows() + heads.v_rows())));
  fmt::print("  template    {}\n", checkpoint.chat_template().empty() ? "none in the checkpoint" : "its own");
  fmt::print("  weights     {} in {} file(s)\n", FormatBytes(checkpoint.weight_bytes()), checkpoint.files().size());
  for (const auto& [kind, group] : GroupTensors(checkpoint)) {
    fmt::print("    {:24} {:4} tensors  {:>10}   held as {}\n", kind.first, group.count, FormatBytes(group.bytes),
               kind.second);
  }
  if (!flags.tensors) return;
  for (const formats::TensorEntry* tensor : checkpoint.tensors()) {
    fmt::print("  {:48} {:24} [{}]\n", tensor->name, formats::StoredAs(*tensor), fmt::join(tensor->shape, ", "));
  }
}

Status Info(const InfoFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const auto checkpoint, OpenModel(flags.model));
  INGOT_ASSIGN_OR_RETURN(const auto spec, models::ReadModelSpec(*checkpoint));
  if (flags.json) {
    PrintJson(*checkpoint, spec, flags);
  } else {
    PrintText(*checkpoint, spec, flags);
  }
  std::set<std::string> unreadable;
  for (const formats::TensorEntry* tensor : checkpoint->tensors()) {
    if (!tensor->unsupported.empty()) unreadable.insert(formats::StoredAs(*tensor));
  }
  if (unreadable.empty()) return {};
  return Unsupported("{}: tensors of types that cannot be read, so the model cannot be loaded: {}", checkpoint->path(),
                     fmt::join(unreadable, ", "));
}

}  // namespace

void DeclareInfo(Flags& root) {
  Flags& command = root.Command("info", "Show a model's shape and how its weights are stored and held");
  const auto flags = std::make_shared<InfoFlags>();
  command.Positional("MODEL", &flags->model, "as for generate; no weight is loaded");
  command.Add("--tensors", &flags->tensors, "list every tensor");
  command.Add("--json", &flags->json, "one JSON object");
  command.Example("ingot info smollm2 --tensors");
  command.OnRun([flags] { return Info(*flags); });
}

}  // namespace ingot::cli
