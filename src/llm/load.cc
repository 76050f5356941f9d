// From options to a running Llm.
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#include "base/json.h"
#include "base/log.h"
#include "llm/checks.h"
#include "llm/llm_impl.h"
#include "llm/memory_plan.h"
#include "llm/model_memory.h"
#include "ops/backend.h"
#include "text/bytes.h"

namespace ingot::llm {
namespace {

// What the weights take as packed, before any is read: a matrix in its layout, the rest as it is.
int64_t EstimateWeights(const formats::Checkpoint& checkpoint, const ops::Backend& backend) {
  int64_t bytes = 0;
  for (const formats::TensorEntry* tensor : checkpoint.tensors()) {
    const auto format = formats::StoredFormat(*tensor);
    const bool packs = format && tensor->shape.size() >= 2 && tensor->shape.back() > 0;
    int64_t rows = 1;
    for (size_t i = 0; packs && i + 1 < tensor->shape.size(); ++i) rows *= tensor->shape[i];
    bytes +=
        packs ? backend.PackedBytes(*format, rows, tensor->shape.back()) : static_cast<int64_t>(tensor->bytes.size());
  }
  return bytes;
}

// The names that generation_config.json has for them.
constexpr const char* kSamplingKeys[] = {"temperature", "top_k", "top_p", "min_p", "repetition_penalty"};

// Sets the one that `key` names, if `config` has it.
Status TakeSampling(const JsonView& config, std::string_view key, SamplingParams* params) {
  Request trial{.sampling = *params};
  SamplingParams& sampling = trial.sampling;
  if (key == "top_k") {
    INGOT_ASSIGN_OR_RETURN(sampling.top_k, config.Int(key, sampling.top_k));
    sampling.top_k = std::max<int64_t>(sampling.top_k, 0);  // -1 is all, too
  } else {
    double& value = key == "temperature" ? sampling.temperature
                    : key == "top_p"     ? sampling.top_p
                    : key == "min_p"     ? sampling.min_p
                                         : sampling.repetition_penalty;
    INGOT_ASSIGN_OR_RETURN(value, config.Double(key, value));
  }
  if (const Status status = sampling::Validate(ToEngineParams(trial, 0)); !status.ok())
    return status.Annotate(config.path());
  *params = sampling;
  return {};
}

// generation_config.json's sampling values; those out of range are left out, with a warning.
SamplingParams DefaultSampling(const formats::Checkpoint& checkpoint) {
  const boost::json::value config(checkpoint.generation_config());
  const JsonView view(config, "generation_config.json");
  SamplingParams params;
  for (const char* key : kSamplingKeys) {
    if (const Status status = TakeSampling(view, key, &params); !status.ok())
      Log(LogLevel::kWarning, "{}; not used", status.message());
  }
  return params;
}

// The values of a JSON object in their place.
Status OverrideSampling(const std::string& json, SamplingParams* params) {
  if (json.empty()) return {};
  const std::string name = "--override-generation-config";
  INGOT_ASSIGN_OR_RETURN(const boost::json::value config, ParseJson(json, name));
  const JsonView view(config, name);
  INGOT_ASSIGN_OR_RETURN(const boost::json::object* const object, view.AsObject());
  for (const auto& member : *object) {
    if (std::ranges::find(kSamplingKeys, member.key()) == std::end(kSamplingKeys))
      return InvalidArgument("{}: no \"{}\"; there are {}", name, std::string_view(member.key()),
                             fmt::join(kSamplingKeys, ", "));
    INGOT_RETURN_IF_ERROR(TakeSampling(view, member.key(), params));
  }
  return {};
}

Status CheckFits(const formats::Checkpoint& checkpoint, const ops::Backend& backend, int64_t available) {
  const int64_t weights = EstimateWeights(checkpoint, backend);
  if (weights <= available) return {};
  return ResourceExhausted(
      "{}: the weights take {} and {} of memory are available; a smaller model, or this one quantized to fewer bits, "
      "fits",
      checkpoint.path(), FormatBytes(weights), FormatBytes(available));
}

}  // namespace

Result<std::unique_ptr<Llm>> MakeLlm(LlmParts parts, const LoadOptions& options, const MemoryAllowance& memory) {
  LlmImpl::Plan plan{.options = WithDefaults(options)};
  engine::EngineOptions engine_options{.executor = ExecutorOptionsOf(plan.options),
                                       .max_queue = options.max_queue,
                                       .flight_recorder = options.flight_recorder};
  engine::ExecutorOptions& executor = engine_options.executor;
  const models::Model& model = *parts.model;
  const MemoryNeeds needs = NeedsOf(model, plan.options, *parts.backend);
  INGOT_ASSIGN_OR_RETURN(plan.memory, PlanMemory(plan.options, needs, memory.available_bytes));
  if (!plan.memory.shortened.empty()) Log(LogLevel::kWarning, "{}", plan.memory.shortened);
  executor.max_context = plan.options.session_len = plan.memory.session_len;
  executor.num_blocks = plan.memory.num_blocks;
  plan.ledger = FormatLedger(plan.memory, plan.options, memory);
  INGOT_ASSIGN_OR_RETURN(auto engine, engine::Engine::Create(model, engine_options, *parts.backend));
  return std::make_unique<LlmImpl>(std::move(parts), std::move(plan), std::move(engine));
}

Result<std::unique_ptr<Llm>> Llm::Load(const LoadOptions& given) {
  INGOT_RETURN_IF_ERROR(CheckLoadOptions(given));
  const LoadOptions options = WithDefaults(given);
  LlmParts parts;
  INGOT_ASSIGN_OR_RETURN(const std::string path, formats::ResolveModel(options.model));
  INGOT_ASSIGN_OR_RETURN(parts.checkpoint, formats::Checkpoint::Open(path, {.tokenizer_pre = options.tokenizer_pre}));
  parts.backend = ops::MakeCpuBackend(options.num_threads);
  INGOT_RETURN_IF_ERROR(CheckFits(*parts.checkpoint, *parts.backend, GetMemoryAllowance().available_bytes));
  INGOT_ASSIGN_OR_RETURN(parts.tokenizer, tokenizer::Tokenizer::Create(parts.checkpoint->vocabulary()));
  INGOT_ASSIGN_OR_RETURN(parts.chat_template, ChooseTemplate(*parts.checkpoint, options));
  parts.default_sampling = DefaultSampling(*parts.checkpoint);
  INGOT_RETURN_IF_ERROR(OverrideSampling(options.generation_config, &parts.default_sampling));
  const models::LoadOptions model_options{.compute = options.exact ? ops::Compute::kExact : ops::Compute::kFast,
                                          .session_len = options.session_len,
                                          .progress = options.progress};
  INGOT_ASSIGN_OR_RETURN(parts.model, models::Model::Load(parts.checkpoint, model_options, *parts.backend));
  return MakeLlm(std::move(parts), options, GetMemoryAllowance());
}

}  // namespace ingot::llm
