// ingot info MODEL
#include <cstdio>
#include <map>
#include <set>

#include "base/json.h"
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

void AppendTensors(std::string& out, const formats::Checkpoint& checkpoint) {
  const auto backend = ops::MakeCpuBackend(1);
  out += R"(,"tensors":[)";
  bool first = true;
  for (const formats::TensorEntry* tensor : checkpoint.tensors()) {
    if (!first) out += ',';
    first = false;
    out += R"({"name":)";
    AppendJsonString(out, tensor->name);
    out += fmt::format(R"(,"shape":[{}],"stored":"{}","held":"{}","bytes":{}}})", fmt::join(tensor->shape, ","),
                       formats::StoredAs(*tensor), HeldAs(*tensor, *backend), formats::StoredBytes(*tensor));
  }
  out += ']';
}

void PrintJson(const formats::Checkpoint& checkpoint, const models::ModelSpec& spec, const InfoFlags& flags) {
  std::string out = R"({"model":)";
  AppendJsonString(out, checkpoint.path());
  out += R"(,"family":)";
  AppendJsonString(out, spec.family);
  out += fmt::format(
      R"(,"layers":{},"hidden_size":{},"intermediate_size":{},"heads":{},"kv_heads":{},"head_dim":{},"vocab_size":{},"max_position":{},"experts":{},"tied_embeddings":{})",
      spec.num_layers, spec.hidden_size, spec.intermediate_size, spec.num_heads, spec.num_kv_heads, spec.head_dim,
      spec.vocab_size, spec.max_position, spec.num_experts, spec.tied_embeddings);
  out += fmt::format(R"(,"weight_bytes":{},"has_chat_template":{},"weights":[)", checkpoint.weight_bytes(),
                     !checkpoint.chat_template().empty());
  bool first = true;
  for (const auto& [kind, group] : GroupTensors(checkpoint)) {
    if (!first) out += ',';
    first = false;
    out += fmt::format(R"({{"stored":"{}","held":"{}","count":{},"bytes":{}}})", kind.first, kind.second, group.count,
                       group.bytes);
  }
  out += ']';
  if (flags.tensors) AppendTensors(out, checkpoint);
  fmt::print("{}}}\n", out);
}

void PrintText(const formats::Checkpoint& checkpoint, const models::ModelSpec& spec, const InfoFlags& flags) {
  fmt::print("{}\n", checkpoint.path());
  fmt::print("  family      {}, {}\n", spec.family,
             checkpoint.kind() == formats::CheckpointKind::kGguf ? "GGUF" : "Hugging Face");
  fmt::print("  shape       {} layers, hidden {}, intermediate {}, {} heads / {} KV heads of {}\n", spec.num_layers,
             spec.hidden_size, spec.intermediate_size, spec.num_heads, spec.num_kv_heads, spec.head_dim);
  if (spec.num_experts > 0)
    fmt::print("  experts     {} of {} a token, intermediate {}\n", spec.experts_per_token, spec.num_experts,
               spec.moe_intermediate_size);
  fmt::print("  vocabulary  {} tokens{}\n", spec.vocab_size,
             spec.tied_embeddings ? ", embedding tied to the head" : "");
  fmt::print("  context     {} tokens\n", spec.max_position);
  fmt::print("  KV cache    {} a token in fp16\n",
             FormatBytes(int64_t{4} * spec.num_layers * spec.num_kv_heads * spec.head_dim));
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
