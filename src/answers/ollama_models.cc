// What ollama tells of models.
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "answers/fields.h"
#include "answers/ollama.h"
#include "answers/routes.h"
#include "base/json_writer.h"
#include "chat/chat_template.h"
#include "formats/checkpoint.h"
#include "formats/quantized.h"
#include "models/model.h"

namespace ingot::answers {
namespace {

int64_t NumParameters(const formats::Checkpoint& checkpoint) {
  int64_t total = 0;
  for (const formats::TensorEntry* tensor : checkpoint.tensors()) {
    int64_t count = 1;
    for (const int64_t size : tensor->shape) count *= size;
    total += count;
  }
  return total;
}

// "134.52M", "7.2B"
std::string SizeText(int64_t parameters) {
  const auto count = static_cast<double>(parameters);
  if (count >= 1e9) return fmt::format("{:.1f}B", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.2f}M", count / 1e6);
  return fmt::format("{}", parameters);
}

// How most bytes of the weights are stored: "Q4_1".
std::string Quantization(const formats::Checkpoint& checkpoint) {
  std::map<std::string, int64_t> bytes;
  for (const formats::TensorEntry* tensor : checkpoint.tensors())
    bytes[formats::StoredAs(*tensor)] += formats::StoredBytes(*tensor);
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  std::string name = most == bytes.end() ? "" : most->first;
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

std::string DetailsJson(const llm::Llm& llm) {
  const formats::Checkpoint& checkpoint = llm.checkpoint();
  const std::string& family = llm.model().spec().family;
  return JsonObject()
      .Add("parent_model", "")
      .Add("format", checkpoint.kind() == formats::CheckpointKind::kGguf ? "gguf" : "safetensors")
      .Add("family", family)
      .AddJson("families", JsonList(std::vector{family}))
      .Add("parameter_size", SizeText(NumParameters(checkpoint)))
      .Add("quantization_level", Quantization(checkpoint))
      .Text();
}

JsonObject ModelJson(const ServedModel& model) {
  return JsonObject()
      .Add("name", model.name)
      .Add("model", model.name)
      .Add("size", model.llm.checkpoint().weight_bytes())
      .Add("digest", model.llm.model().fingerprint())
      .AddJson("details", DetailsJson(model.llm));
}

std::string Created(const ServedModel& model) {
  return OllamaTime(std::chrono::system_clock::from_time_t(model.created));
}

std::string ModelInfoJson(const llm::Llm& llm) {
  const models::ModelSpec& spec = llm.model().spec();
  const std::string& family = spec.family;
  return JsonObject()
      .Add("general.architecture", family)
      .Add("general.parameter_count", NumParameters(llm.checkpoint()))
      .Add(family + ".block_count", spec.num_layers)
      .Add(family + ".context_length", llm.session_len())
      .Add(family + ".embedding_length", spec.hidden_size)
      .Add(family + ".feed_forward_length", spec.intermediate_size)
      .Add(family + ".attention.head_count", spec.layers.front().num_heads)
      .Add(family + ".attention.head_count_kv", spec.layers.front().num_kv_heads)
      .Add(family + ".vocab_size", spec.vocab_size)
      .Text();
}

// A line a parameter: the model's own defaults.
std::string Parameters(const llm::Llm& llm) {
  std::vector<std::string> lines;
  for (const auto& [name, value] : LlamaSettings(llm.default_sampling()))
    lines.push_back(fmt::format("{} {}", name, value));
  return fmt::format("{}", fmt::join(lines, "\n"));
}

}  // namespace

std::string OllamaTags(const ServedModels& models) {
  const std::string list = JsonList(
      models.all(), [](const auto& model) { return ModelJson(*model).Add("modified_at", Created(*model)).Text(); });
  return JsonObject().AddJson("models", list).Text();
}

std::string OllamaProcesses(const ServedModels& models) {
  const std::string list = JsonList(models.all(), [](const auto& model) {
    return ModelJson(*model)
        .Add("expires_at", "9999-12-31T23:59:59Z")  // never
        .Add("size_vram", 0)
        .Add("context_length", model->llm.session_len())
        .Text();
  });
  return JsonObject().AddJson("models", list).Text();
}

std::string OllamaModel(const ServedModel& model) {
  const llm::Llm& llm = model.llm;
  const chat::ChatTemplate* chat_template = llm.chat_template();
  return JsonObject()
      .Add("modelfile", "FROM " + (model.root.empty() ? model.name : model.root))
      .Add("parameters", Parameters(llm))
      .Add("template", chat_template != nullptr ? chat_template->source() : "")
      .AddJson("details", DetailsJson(llm))
      .AddJson("model_info", ModelInfoJson(llm))
      .AddJson("capabilities", JsonList(std::vector{"completion"}))
      .Add("modified_at", Created(model))
      .Text();
}

}  // namespace ingot::answers
