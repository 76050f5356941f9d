// From options to a running Llm.
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>

#include "base/json.h"
#include "base/log.h"
#include "base/memory_limit.h"
#include "llm/checks.h"
#include "llm/compute.h"
#include "llm/llm_impl.h"
#include "llm/memory_plan.h"
#include "llm/model_memory.h"
#include "llm/params.h"
#include "llm/pytorch.h"
#include "ops/devices.h"
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

// Sets a default of sampling, from a member of `config`.
Status SetDefault(const Param& param, const JsonView& config, sampling::Params* defaults) {
  const auto value = config.Find(param.name);
  if (!value) return {};
  Request trial{.sampling = *defaults};
  INGOT_RETURN_IF_ERROR(SetParam(param, *value, &trial));
  if (const Status status = CheckParam(param, trial); !status.ok()) return status.Annotate(config.path());
  *defaults = trial.sampling;
  return {};
}

// generation_config.json's sampling values; those out of range are left out, with a warning.
sampling::Params DefaultSampling(const formats::Checkpoint& checkpoint) {
  const boost::json::value config(checkpoint.generation_config());
  const JsonView view(config, "generation_config.json");
  sampling::Params defaults;
  for (const Param& param : AllParams()) {
    if ((param.uses & kAsDefault) == 0) continue;
    if (const Status status = SetDefault(param, view, &defaults); !status.ok())
      Log(LogLevel::kWarning, "{}; not used", status.message());
  }
  return defaults;
}

// The values of a JSON object in their place.
Status OverrideSampling(const std::string& json, sampling::Params* defaults) {
  if (json.empty()) return {};
  const std::string name = "--override-generation-config";
  INGOT_ASSIGN_OR_RETURN(const boost::json::value config, ParseJson(json, name));
  const JsonView view(config, name);
  INGOT_ASSIGN_OR_RETURN(const boost::json::object* const object, view.AsObject());
  std::vector<std::string_view> known;
  for (const Param& param : AllParams()) {
    if ((param.uses & kAsDefault) != 0) known.emplace_back(param.name);
  }
  for (const auto& member : *object) {
    const std::string_view key = member.key();
    if (std::ranges::find(known, key) == known.end())
      return InvalidArgument("{}: no \"{}\"; there are {}", name, key, fmt::join(known, ", "));
    INGOT_RETURN_IF_ERROR(SetDefault(*FindParam(key), view, defaults));
  }
  return {};
}

Status CheckFits(const formats::Checkpoint& checkpoint, int64_t weights, int64_t available) {
  if (weights <= available) return {};
  if (MemoryLeftByLimits()) {
    return ResourceExhausted(
        "{}: the weights take {}, and {} are available under the limit of this process's memory (ulimit -v, or -d); "
        "raise it, or take a smaller model",
        checkpoint.path(), FormatBytes(weights), FormatBytes(available));
  }
  return ResourceExhausted(
      "{}: the weights take {} and {} of memory are available; a smaller model, or this one quantized to fewer bits, "
      "fits",
      checkpoint.path(), FormatBytes(weights), FormatBytes(available));
}

Status LoadNative(models::ModelSpec spec, LoadOptions* options, LlmParts* parts) {
  if (options->pytorch_dtype == "float32")
    return InvalidArgument("--dtype float32 is for --backend pytorch; here it is --compute exact");
  // A GPU has one way to compute.
  SetCompute(parts->device.empty() ? ChooseCompute(ComputeOf(*options), spec).compute : Compute::kFast, options);
  const models::LoadOptions model_options{.compute = options->exact ? ops::Compute::kExact : ops::Compute::kFast,
                                          .session_len = options->session_len,
                                          .weights_cache = options->weights_cache,
                                          .progress = options->progress};
  INGOT_ASSIGN_OR_RETURN(parts->model,
                         models::Model::Load(parts->checkpoint, std::move(spec), model_options, *parts->backend));
  return {};
}

Status LoadWithPytorch(int64_t available, LoadOptions* options, LlmParts* parts) {
  INGOT_RETURN_IF_ERROR(CheckFits(*parts->checkpoint, parts->checkpoint->weight_bytes(), available));
  if (!options->weights_cache.empty())
    Log(LogLevel::kWarning, "--weights-cache is for Ingot's own engine; PyTorch's does not use it");
  INGOT_ASSIGN_OR_RETURN(PytorchModel loaded, LoadPytorch(*options, *parts->checkpoint, *parts->backend));
  if (options->profile != nullptr)
    return Unsupported("--profile times Ingot's ops; for PyTorch's, take torch.profiler");
  options->backend = "pytorch";
  options->pytorch_dtype = loaded.dtype;
  parts->model = std::move(loaded.model);
  parts->device = loaded.description;
  return {};
}

// By the engine that the options name, or that knows the model; the options then say which that is.
Status LoadWeights(int64_t available, LoadOptions* options, LlmParts* parts) {
  const formats::Checkpoint& checkpoint = *parts->checkpoint;
  if (options->backend != "pytorch") {
    Result<models::ModelSpec> spec = models::ReadModelSpec(checkpoint);
    if (spec) {
      options->backend = "native";
      INGOT_RETURN_IF_ERROR(CheckFits(checkpoint, EstimateWeights(checkpoint, *parts->backend), available));
      return LoadNative(*std::move(spec), options, parts);
    }
    const bool may_know = checkpoint.kind() == formats::CheckpointKind::kHuggingFace;
    if (options->backend == "native" || spec.error().code() != Code::kUnsupported || !may_know) return spec.error();
    const Status status = LoadWithPytorch(available, options, parts);
    return status.ok() ? status : Status(status.code(), spec.error().message() + ". " + status.message());
  }
  return LoadWithPytorch(available, options, parts);
}

// Other programs may have taken memory since it was planned.
Status StillFits(const Status& error, const MemoryPlan& plan, int64_t available) {
  if (error.code() != Code::kResourceExhausted) return error;
  const int64_t left = available - plan.workspace - plan.kv_tails;
  if (left < plan.groups[0].block_bytes) {
    return ResourceExhausted(
        "{}; {} are free, and the workspace takes {}: a smaller --max-prefill-token-num or --max-batch-size needs less",
        error.message(), FormatBytes(available), FormatBytes(plan.workspace + plan.kv_tails));
  }
  return ResourceExhausted("{}; {} are free now; --kv-cache-memory {} fits", error.message(), FormatBytes(available),
                           SizeAtMost(left));
}

}  // namespace

Result<std::unique_ptr<Llm>> MakeLlm(LlmParts parts, const LoadOptions& options) {
  LlmImpl::Sizing sizing{.options = WithDefaults(options)};
  engine::EngineOptions engine_options{.executor = ExecutorOptionsOf(sizing.options),
                                       .max_queue = options.max_queue,
                                       .flight_recorder = options.flight_recorder};
  engine::ExecutorOptions& executor = engine_options.executor;
  const models::Model& model = *parts.model;
  const MemoryNeeds needs = NeedsOf(model, sizing.options, *parts.backend);
  MemoryAllowance memory = parts.memory();
  memory.available_bytes -= needs.mapped_weights;  // the system could drop them: they would be read again at each step
  INGOT_ASSIGN_OR_RETURN(sizing.memory, PlanMemory(sizing.options, needs, memory.available_bytes));
  if (!sizing.memory.shortened.empty()) Log(LogLevel::kWarning, "{}", sizing.memory.shortened);
  executor.max_context = sizing.options.session_len = sizing.memory.session_len;
  executor.num_blocks = sizing.memory.num_blocks;
  sizing.ledger = FormatLedger(sizing.memory, sizing.options, memory);
  if (!parts.device.empty()) sizing.ledger = fmt::format("device      {}\n{}", parts.device, sizing.ledger);
  auto engine = engine::Engine::Create(model, engine_options, *parts.backend);
  if (!engine) return Error(StillFits(engine.error(), sizing.memory, parts.memory().available_bytes));
  return std::make_unique<LlmImpl>(std::move(parts), std::move(sizing), *std::move(engine));
}

Result<std::unique_ptr<Llm>> Llm::Load(const LoadOptions& given) {
  INGOT_RETURN_IF_ERROR(CheckLoadOptions(given));
  LoadOptions options = given;
  LlmParts parts;
  INGOT_ASSIGN_OR_RETURN(const std::string path, formats::ResolveModel(options.model));
  INGOT_ASSIGN_OR_RETURN(parts.checkpoint, formats::Checkpoint::Open(path, {.tokenizer_pre = options.tokenizer_pre}));
  INGOT_ASSIGN_OR_RETURN(ops::ChosenDevice device,
                         ops::ChooseDevice({.device = options.device,
                                            .num_threads = WithDefaults(given).num_threads,
                                            .activation_dtype = options.kv_bf16 ? DType::kBF16 : DType::kF16,
                                            .cuda_graphs = options.cuda_graphs,
                                            .int8_products = ComputeOf(options) == Compute::kFast}));
  parts.backend = std::move(device.backend);
  parts.device = device.description;
  parts.memory = device.memory;
  if (options.profile != nullptr && !parts.device.empty())
    return Unsupported("--profile times the ops of the CPU; for those of {}, take NVIDIA's nsys", parts.device);
  options.device = parts.device.empty() ? "cpu" : "cuda";  // what "auto" found; defaults and checks depend on it
  INGOT_RETURN_IF_ERROR(CheckLoadOptions(options));
  INGOT_ASSIGN_OR_RETURN(parts.tokenizer, tokenizer::Tokenizer::Create(parts.checkpoint->vocabulary()));
  INGOT_ASSIGN_OR_RETURN(parts.chat_template, ChooseTemplate(*parts.checkpoint, options));
  parts.default_sampling = DefaultSampling(*parts.checkpoint);
  INGOT_RETURN_IF_ERROR(OverrideSampling(options.generation_config, &parts.default_sampling));
  INGOT_RETURN_IF_ERROR(LoadWeights(parts.memory().available_bytes, &options, &parts));
  return MakeLlm(std::move(parts), options);
}

}  // namespace ingot::llm
