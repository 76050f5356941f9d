// ingot plan MODEL|SHAPE
#include <algorithm>
#include <filesystem>

#include "base/text_file.h"
#include "base/topology.h"
#include "common.h"
#include "formats/alias.h"
#include "formats/checkpoint.h"
#include "llm/checks.h"
#include "llm/compute.h"
#include "models/known_shapes.h"
#include "ops/devices.h"
#include "plan_report.h"
#include "text/bytes.h"

namespace ingot::cli {
namespace {

namespace fs = std::filesystem;

struct PlanFlags {
  // Of its options, session_len and max_batch_size are what is asked for; the fraction is the most the cache may get.
  llm::LoadOptions options = {.cache_max_entry_count = 0.95};
  std::string compute = "auto", device, weights;
  int64_t memory = 0, prompt_tokens = 0, answer_tokens = 32;
  int group_size = 128;
  std::optional<int64_t> quant_policy;
  bool json = false, measure = false, devices = false;
};

constexpr int kDefaultSessions = 8;            // as in the tables of LMDeploy
constexpr int64_t kDefaultSessionLen = 8192;   // or the model's, where that is shorter
constexpr int64_t kDefaultPromptTokens = 256;  // of what is measured
constexpr int64_t kMaxConfigBytes = 16 << 20;

// What MODEL stands for: a checkpoint, or a shape alone.
struct Subject {
  models::ModelSpec spec;
  std::shared_ptr<const formats::Checkpoint> checkpoint;  // null: a shape
};

Result<Subject> ReadConfigFile(const std::string& path) {
  INGOT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxConfigBytes));
  INGOT_ASSIGN_OR_RETURN(models::ModelSpec spec, models::ReadConfigSpec(text, path));
  return Subject{std::move(spec), nullptr};
}

// A path first, then an alias, the table of shapes, and the Hugging Face cache.
Result<Subject> FindSubject(const std::string& name) {
  const std::string path = formats::ResolveAlias(name);
  std::error_code error;
  if (path.ends_with(".json")) return ReadConfigFile(path);
  const bool exists = fs::exists(path, error);
  const auto shape = models::KnownShape(name);
  if (!exists && shape) return Subject{*shape, nullptr};
  const auto resolved = formats::ResolveModel(path);
  if (!resolved && !exists && name.find('/') == std::string::npos) {
    return NotFound("'{}' is no model that is here, and {}; a config.json will do too", name, shape.error().message());
  }
  if (!resolved) return Error(resolved.error());
  const auto checkpoint = formats::Checkpoint::Open(*resolved);
  if (checkpoint) {
    INGOT_ASSIGN_OR_RETURN(models::ModelSpec spec, models::ReadModelSpec(**checkpoint));
    return Subject{std::move(spec), *checkpoint};
  }
  // A folder of a model whose weights are not there yet.
  const std::string config = *resolved + "/config.json";
  if (checkpoint.error().code() == Code::kNotFound && fs::exists(config, error)) return ReadConfigFile(config);
  return Error(checkpoint.error());
}

Status CheckPlanFlags(const PlanFlags& flags) {
  llm::LoadOptions options = flags.options;
  if (flags.quant_policy) options.quant_policy = static_cast<int>(std::clamp<int64_t>(*flags.quant_policy, -1, 99));
  INGOT_RETURN_IF_ERROR(llm::CheckLoadOptions(options));
  if (flags.memory < 0) return InvalidArgument("--memory {} is negative", flags.memory);
  if (flags.group_size != 16 && (flags.group_size < 32 || flags.group_size % 32 != 0 || flags.group_size > 1 << 20)) {
    return InvalidArgument("--w-group-size {}: groups are 16, or a multiple of 32", flags.group_size);
  }
  if (!flags.device.empty() && flags.device != "cuda" && plan::FindDevice(flags.device) == nullptr) {
    std::vector<std::string> names = {"cuda"};
    for (const plan::Device& device : plan::Devices()) names.emplace_back(device.name);
    return InvalidArgument("--device {} is not known; known are {}", flags.device, fmt::join(names, ", "));
  }
  return {};
}

// Memory, sessions and their length, where they are not given. `here`: what --device cuda found, or the CPU.
Status FillIn(const PlanFlags& flags, const ops::ChosenDevice& here, PlanReport* report) {
  llm::LoadOptions& options = report->options;
  options = flags.options;
  report->serves_on_cuda = !here.description.empty();
  llm::SetCompute(llm::ChooseCompute(llm::ComputeOf(flags.compute), report->spec).compute, &options);
  options.quant_policy = 0;
  if (options.max_batch_size == 0) options.max_batch_size = kDefaultSessions;
  if (options.session_len == 0) options.session_len = std::min(kDefaultSessionLen, report->spec.max_position);
  options = llm::WithDefaults(options);
  constexpr int64_t kMostTokens = (int64_t{1} << 31) - 1;
  if (options.session_len > kMostTokens / options.max_batch_size - options.cache_block_seq_len) {
    return InvalidArgument("--session-len {} times --max-batch-size {} exceeds the {} tokens that a cache can number",
                           options.session_len, options.max_batch_size, kMostTokens);
  }
  const plan::Device* device = plan::FindDevice(flags.device);
  if (flags.memory > 0) {
    report->memory = flags.memory;
    report->memory_source = "--memory";
  } else if (device != nullptr) {
    report->memory = device->memory;
    report->memory_source = device->title;
  } else {
    report->memory = here.memory().available_bytes;
    report->memory_source = here.description.empty() ? "free on this machine" : "free on " + here.description;
  }
  return {};
}

// Precisions of the weights, the most precise first.
Result<std::vector<plan::Weights>> WeightsToPlan(const PlanFlags& flags, const Subject& subject) {
  using enum plan::Weights;
  std::vector<plan::Weights> all;
  if (subject.checkpoint) all.push_back(kStored);
  all.insert(all.end(), {kFp16, kW8A8, kW4});
  if (flags.weights.empty()) return all;
  std::erase_if(all, [&](plan::Weights weights) { return plan::WeightsName(weights) != flags.weights; });
  if (all.empty()) return InvalidArgument("--weights stored: {} is a shape without weights", flags.options.model);
  return all;
}

Result<std::unique_ptr<models::Model>> Outline(const Subject& subject, plan::Weights weights, const PlanReport& report,
                                               ops::Backend& backend) {
  if (weights == plan::Weights::kStored) {
    return models::Model::Load(subject.checkpoint, subject.spec, {.outline = true}, backend);
  }
  return plan::OutlineOf(subject.spec, plan::FormatOfWeights(weights, report.group_size), report.model, backend);
}

Status AddRows(const PlanFlags& flags, const Subject& subject, ops::Backend& backend, PlanReport* report) {
  INGOT_ASSIGN_OR_RETURN(const auto all_weights, WeightsToPlan(flags, subject));
  for (const plan::Weights weights : all_weights) {
    INGOT_ASSIGN_OR_RETURN(const auto model, Outline(subject, weights, *report, backend));
    for (const int policy : {0, 8, 4}) {
      if (flags.quant_policy && *flags.quant_policy != policy) continue;
      PlanRow row{.weights = weights, .options = report->options};
      row.options.quant_policy = policy;
      row.capacity = plan::PlanCapacity(*model, row.options, report->memory, backend);
      report->rows.push_back(std::move(row));
    }
  }
  const auto fits =
      std::ranges::find_if(report->rows, [](const PlanRow& row) { return row.capacity.plan.has_value(); });
  if (fits != report->rows.end()) report->chosen = &*fits;
  return {};
}

// All where the report is for programs, or they were asked for.
void AddDevices(const PlanFlags& flags, PlanReport* report) {
  report->device = plan::FindDevice(flags.device);
  if (report->device == nullptr && !flags.devices && !flags.json) return;
  for (const plan::Device& device : plan::Devices()) {
    if (report->device != nullptr && !flags.devices && report->device != &device) continue;
    DeviceRow row{.device = &device};
    for (size_t i = 0; i < std::size(plan::kSchemes); ++i) {
      row.crossovers[i] = plan::FindCrossover(
          {.spec = &report->spec, .scheme = plan::kSchemes[i], .group_size = report->group_size}, device);
    }
    report->devices.push_back(row);
  }
}

Status MeasureChosen(const PlanFlags& flags, ops::Backend& backend, PlanReport* report) {
  const PlanRow& row = *report->chosen;
  if (report->serves_on_cuda) return InvalidArgument("--measure measures the CPU; leave out --device cuda");
  if (row.weights == plan::Weights::kStored) {
    return InvalidArgument("--measure runs random weights of a shape: give --weights fp16, w8a8 or w4");
  }
  plan::MeasureParams params{.spec = report->spec,
                             .weights = plan::FormatOfWeights(row.weights, report->group_size),
                             .options = row.options,
                             .cap = report->memory,
                             .answer_tokens = flags.answer_tokens};
  // The plan counts from nothing; the program itself takes some of the cap too.
  params.options.cache_max_entry_count = report->options.cache_max_entry_count;
  const int64_t most = row.options.session_len - flags.answer_tokens;
  params.prompt_tokens = flags.prompt_tokens > 0 ? flags.prompt_tokens : std::min(kDefaultPromptTokens, most);
  if (flags.answer_tokens < 1 || most < 1 || params.prompt_tokens > most) {
    return InvalidArgument("--prompt-tokens {} and --answer-tokens {} are not 1 or more, and within --session-len {}",
                           params.prompt_tokens, flags.answer_tokens, row.options.session_len);
  }
  INGOT_ASSIGN_OR_RETURN(report->measured, plan::Measure(params, backend));
  return {};
}

Status Plan(const PlanFlags& flags) {
  INGOT_RETURN_IF_ERROR(CheckPlanFlags(flags));
  INGOT_ASSIGN_OR_RETURN(const Subject subject, FindSubject(flags.options.model));
  PlanReport report{.model = flags.options.model, .spec = subject.spec, .group_size = flags.group_size};
  INGOT_ASSIGN_OR_RETURN(const ops::ChosenDevice here,
                         ops::ChooseDevice({.device = flags.device == "cuda" ? "cuda" : "cpu",
                                            .num_threads = llm::WithDefaults(flags.options).num_threads}));
  INGOT_RETURN_IF_ERROR(FillIn(flags, here, &report));
  INGOT_RETURN_IF_ERROR(AddRows(flags, subject, *here.backend, &report));
  AddDevices(flags, &report);
  if (flags.measure && report.chosen != nullptr) INGOT_RETURN_IF_ERROR(MeasureChosen(flags, *here.backend, &report));
  flags.json ? PrintPlanJson(report) : PrintPlan(report);
  if (report.chosen == nullptr) return NothingFits(report);
  if (report.measured && report.measured->peak > report.memory) {
    return ResourceExhausted("the run took {}, and {} were allowed", FormatBytes(report.measured->peak),
                             FormatBytes(report.memory));
  }
  return {};
}

}  // namespace

void DeclarePlan(Flags& root) {
  Flags& command = root.Command("plan", "Show what fits into a given memory: sessions, lengths, precisions, flags");
  const auto flags = std::make_shared<PlanFlags>();
  llm::LoadOptions& options = flags->options;
  command.Positional("MODEL", &options.model,
                     "as for generate, or a shape alone: llama-2-7b, qwen3-8b, … or a config.json");
  command.AddBytes("--memory", &flags->memory, "the memory to plan for; default: the device's, or what is free here");
  command.Add("--device", &flags->device,
              "cuda: this machine's GPU; a100, h200, 4090, …: its memory, and where its decode turns");
  command.Add("--devices", &flags->devices, "a table of all devices: where the decode of this model turns on each");
  command.Add("--session-len", &options.session_len, "tokens of a session; 0: the model's, at most 8192");
  command.Add("--max-batch-size", &options.max_batch_size, "sessions at once; 0: 8");
  command.AddChoice("--weights", &flags->weights, {"", "stored", "fp16", "w8a8", "w4"}, "this precision only");
  command.Add("--w-group-size", &flags->group_size, "weights of a group in w4");
  command.AddNamed("--quant-policy", &flags->quant_policy, kQuantPolicies,
                   "this KV cache only: fp16 (0), int8 (8) or int4 (4; in LMDeploy 0.2 that was int8)");
  command.Add("--cache-max-entry-count", &options.cache_max_entry_count,
              "the most of free memory that the KV cache may get");
  command.Add("--cache-block-seq-len", &options.cache_block_seq_len, "tokens of a KV block, a multiple of 32");
  command.Add("--max-prefill-token-num", &options.max_prefill_token_num, "tokens of one forward pass");
  command.AddChoice("--compute", &flags->compute, {"auto", "fast", "exact"}, "as the server will be started");
  command.Add("--threads", &options.num_threads, "as the server will be started; 0: what this machine allows");
  command.Add("--measure", &flags->measure, "run random weights of that shape with the memory as a cap");
  command.Add("--prompt-tokens", &flags->prompt_tokens, "with --measure: of each session; 0: 256, or what fits");
  command.Add("--answer-tokens", &flags->answer_tokens, "with --measure: of each session");
  command.Add("--json", &flags->json, "one JSON object");
  command.Example("ingot plan llama-2-7b --memory 24GiB --session-len 8192");
  command.Example("ingot plan smollm2-135m --memory 1GiB --weights w4 --measure");
  command.OnRun([flags] { return Plan(*flags); });
}

}  // namespace ingot::cli
