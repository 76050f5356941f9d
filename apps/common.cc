#include "common.h"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "base/env.h"
#include "base/json.h"
#include "base/log.h"
#include "foreign_flags.h"
#include "formats/alias.h"
#include "formats/quantized.h"
#include "llm/compute.h"
#include "models/model.h"
#include "ops/isa_info.h"
#include "progress_bar.h"
#include "pytorch.h"

namespace ingot::cli {
namespace {

std::atomic<int> interrupts = 0;

// Of tools/models.json.
struct Alias {
  const char *name, *generation_config;
};
constexpr Alias kAliases[] = {{"smollm2", R"({"temperature": 0.2, "top_p": 0.9})"}};

void CountInterrupt(int) { interrupts.fetch_add(1); }
void CountInterruptOrEnd(int) {
  if (interrupts.fetch_add(1) >= 1) _exit(130);
}

// As --model-format names it.
std::string_view ModelFormatOf(const formats::Checkpoint& checkpoint) {
  if (checkpoint.kind() == formats::CheckpointKind::kGguf) return "gguf";
  for (const formats::TensorEntry* tensor : checkpoint.tensors()) {
    if (!tensor->quantized) continue;
    switch (tensor->quantized->packing) {
      case formats::Packing::kAwqGemm:
        return "awq";
      case formats::Packing::kGptq:
        return "gptq";
      case formats::Packing::kCompressed:
      case formats::Packing::kInt8:
        return "compressed-tensors";
      case formats::Packing::kGgml:
        break;
    }
  }
  return "hf";
}

Status CheckModelFormat(const ModelFlags& model) {
  if (model.model_format.empty()) return {};
  INGOT_ASSIGN_OR_RETURN(const auto checkpoint, OpenModel(model.options.model));
  const std::string_view found = ModelFormatOf(*checkpoint);
  if (found == model.model_format) return {};
  return InvalidArgument("--model-format {}: {} is {}; leave the flag out, or take another checkpoint",
                         model.model_format, checkpoint->path(), found);
}

}  // namespace

void AddModelFlags(Flags& flags, ModelFlags* model) {
  llm::LoadOptions& options = model->options;
  flags.Positional("MODEL", &options.model,
                   "a model directory, a GGUF file, Org/Name in the Hugging Face cache, or an alias (smollm2)");
  flags.AddChoice("--model-format", &model->model_format, {"", "hf", "awq", "gptq", "compressed-tensors", "gguf"},
                  "fail unless the checkpoint is of this kind, which is read from it in any case");
  flags.AddChoice(
      "--compute", &model->compute, {"auto", "fast", "exact"},
      "exact: activations in fp32; fast: in int8, or bf16 with AMX; auto: exact for models far below 1B, but "
      "fast with AMX");
  flags.AddChoice("--backend", &options.backend, {"auto", "native", "turbomind", "pytorch"},
                  "native (or turbomind): Ingot's own engine; pytorch: transformers, in Python; auto: native where it "
                  "knows the model");
  flags.BeforeRun([model]() -> Status {
    if (model->options.backend == "turbomind") model->options.backend = "native";  // as LMDeploy calls its own
    return EnterPython(*model);
  });
  flags.AddChoice("--device", &options.device, {"cpu", "cuda", "auto"},
                  "cuda: the first NVIDIA GPU (not yet tested on one: docs/cuda.md); auto: that, where there is one");
  flags.Add("--cuda-graphs", &options.cuda_graphs,
            "on cuda, start each step of decodes as one CUDA graph (on; --cuda-graphs=false turns it off)");
  flags.Add("--threads", &options.num_threads,
            "threads to compute with; 0: what this machine, or its container, allows");
  flags.Add("--weights-cache", &options.weights_cache,
            "a folder that keeps weights as they are packed at the first start, for later ones to map (on CPUs)");
  flags.Add("--chat-template", &options.chat_template,
            "a built-in template's name or a Jinja file; default: the model's own");
  flags.Add("--tokenizer-pre", &options.tokenizer_pre, kTokenizerPreHelp);
  flags.Add("--override-generation-config", &options.generation_config,
            "sampling defaults instead of the model's: '{\"temperature\": 0.2, \"top_p\": 0.9}'");
  flags.Add("--meta-instruction", &options.meta_instruction, "system message for conversations that bring none");
  flags.Add("--session-len", &options.session_len, "longest context, tokens; 0: the model's, or what fits");
  flags.Add("--max-batch-size", &options.max_batch_size, "requests at once; 0: a default by device");
  flags.Add("--cache-max-entry-count", &options.cache_max_entry_count, "fraction of free memory for the KV cache");
  flags.AddBytes("--kv-cache-memory", &options.kv_cache_bytes, "size of the KV cache, instead of a fraction");
  flags.Add("--cache-block-seq-len", &options.cache_block_seq_len, "tokens of a KV block, a multiple of 32");
  flags.AddNamed("--quant-policy", &options.quant_policy, kQuantPolicies,
                 "KV cache in fp16 (0), int8 (8) or int4 (4, as in LMDeploy today; in 0.2 that was int8)");
  flags.AddChoice(
      "--dtype", &model->dtype, {"auto", "float16", "half", "bfloat16", "float32"},
      "of a 16-bit KV cache, CUDA's activations, PyTorch's weights; auto: bfloat16 on AMX tiles, else float16");
  flags.Add("--enable-prefix-caching", &options.enable_prefix_caching,
            "share the cache of common beginnings (on; --enable-prefix-caching=false turns it off)");
  flags.Add("--speculative-ngram", &options.speculative_ngram,
            "tokens guessed from what followed the last ones before, and checked in one step; 0: none, at most 4");
  flags.Add("--max-prefill-token-num", &options.max_prefill_token_num, "tokens of one forward pass");
}

Result<std::string> FindModel(const std::string& name) {
  auto path = formats::ResolveModel(formats::ResolveAlias(name));
  if (path || path.error().code() != Code::kNotFound || name.starts_with('/') || name.starts_with('.')) return path;
  std::string host = name.substr(0, name.find('/'));
  const size_t colon = host.find(':');
  const bool is_address = colon != std::string::npos && colon > 0 && colon + 1 < host.size() &&
                          host.find_first_not_of("0123456789", colon + 1) == std::string::npos;
  if (is_address) return NotFound("{}: no such file or directory; a server's address begins with http://", name);
  if (name.find('/') != std::string::npos) return path;
  const std::string nearest = NearestOf(name, {kAliases[0].name});
  if (nearest.empty()) return path;
  if (nearest != name) return NotFound("{}; did you mean {}?", path.error().message(), nearest);
  return NotFound(
      "{0} is a model that `make serve` and `make test` fetch to build/models of the source tree, and it is not there; "
      "INGOT_MODELS_DIR names the folder of another, or put a .gguf file into ~/.cache/ingot/models/{0}",
      name);
}

Result<std::shared_ptr<const formats::Checkpoint>> OpenModel(const std::string& model,
                                                             const formats::OpenOptions& options) {
  INGOT_ASSIGN_OR_RETURN(const auto path, FindModel(model));
  return formats::Checkpoint::Open(path, options);
}

std::string DescribeCompute(const ModelFlags& flags, const llm::Llm& llm) {
  if (llm.options().backend == "pytorch")
    return fmt::format("computes with PyTorch in {} (--backend {})", llm.options().pytorch_dtype,
                       flags.options.backend);
  const ops::IsaInfo isa = ops::GetIsaInfo();
  const llm::ComputeChoice choice = llm::ChooseCompute(llm::ComputeOf(flags.compute), llm.model().spec());
  const std::string what = choice.compute == llm::Compute::kExact ? "activations in fp32" : isa.fast;
  const std::string why =
      choice.why.empty() ? "" : fmt::format(" is {}, as {}", ComputeName(choice.compute), choice.why);
  return fmt::format("computes on {} with {} (--compute {}{})", isa.chosen, what, flags.compute, why);
}

std::vector<char*> ArgvOf(std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return argv;
}

std::string ModelName(const std::string& model) {
  constexpr std::string_view kGguf = ".gguf";
  const bool is_org_name = std::ranges::count(model, '/') == 1 && !model.starts_with('/') && !model.starts_with('.');
  if (model.find('/') == std::string::npos ? !model.ends_with(kGguf) : is_org_name && !model.ends_with(kGguf))
    return model;
  const std::filesystem::path path(model);
  std::string name = (path.has_filename() ? path : path.parent_path()).filename().string();
  if (name.ends_with(kGguf)) name.resize(name.size() - kGguf.size());
  return name.empty() ? model : name;
}

namespace {

// What an alias's makers recommend, where its file does not say it, under what the user says.
Result<std::string> GenerationConfig(const ModelFlags& model) {
  const std::string& given = model.options.generation_config;
  const auto alias =
      std::ranges::find(kAliases, model.options.model, [](const Alias& one) { return std::string(one.name); });
  if (alias == std::end(kAliases) || formats::ResolveAlias(model.options.model) == model.options.model) return given;
  if (given.empty()) return std::string(alias->generation_config);
  INGOT_ASSIGN_OR_RETURN(const boost::json::value changes, ParseJson(given, "--override-generation-config"));
  INGOT_ASSIGN_OR_RETURN(boost::json::value config, ParseJson(alias->generation_config, alias->name));
  if (!changes.is_object()) return given;
  for (const auto& member : changes.get_object()) config.get_object()[member.key()] = member.value();
  return boost::json::serialize(config);
}

}  // namespace

Result<std::unique_ptr<llm::Llm>> LoadModel(const ModelFlags& model) {
  INGOT_RETURN_IF_ERROR(CheckModelFormat(model));
  llm::LoadOptions options = model.options;
  if (const auto path = FindModel(options.model); !path) return Error(path.error());
  options.model = formats::ResolveAlias(options.model);  // not the path: a name also says which chat template is meant
  llm::SetCompute(llm::ComputeOf(model.compute), &options);
  INGOT_ASSIGN_OR_RETURN(options.generation_config, GenerationConfig(model));
  options.kv_bf16 = model.dtype == "bfloat16";
  options.pytorch_dtype = model.dtype == "half" ? "float16" : model.dtype;
  ProgressBar bar("loading");
  options.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
  auto loaded = llm::Llm::Load(options);
  bar.Clear();
  INGOT_ASSIGN_OR_RETURN(auto llm, std::move(loaded));
  std::istringstream ledger(llm->MemoryLedger());
  for (std::string line; std::getline(ledger, line);) Log(LogLevel::kInfo, "{}", line);
  if (llm->options().device == "cpu") Log(LogLevel::kInfo, "{}", DescribeCompute(model, *llm));
  if (const int64_t trained = llm->model().spec().max_position; trained > 0 && options.session_len > trained) {
    Log(LogLevel::kWarning, "--session-len {} is beyond the {} positions that this model was made for",
        options.session_len, trained);
  }
  return llm;
}

namespace {

// "ID=VALUE" each, or a JSON object of them.
Result<boost::json::value> ParseLogitBias(const std::vector<std::string>& texts) {
  boost::json::object biases;
  for (const std::string& text : texts) {
    if (text.starts_with('{')) {
      INGOT_ASSIGN_OR_RETURN(const auto json, ParseJson(text, "--logit-bias"));
      INGOT_ASSIGN_OR_RETURN(const auto* object, JsonView(json, "--logit-bias").AsObject());
      for (const auto& [token, bias] : *object) biases.insert_or_assign(token, bias);
      continue;
    }
    const size_t sign = std::min(text.find('='), text.size());
    const auto value = ParseJson(std::string_view(text).substr(std::min(sign + 1, text.size())), "");
    if (sign == 0 || !value || !value->is_number())
      return InvalidArgument("--logit-bias '{}' is not ID=VALUE, as in 42=-100", text);
    if (!biases.emplace(text.substr(0, sign), *value).second)
      return InvalidArgument("--logit-bias names {} twice", text.substr(0, sign));
  }
  return boost::json::value(std::move(biases));
}

}  // namespace

void ParamFlags::Add(Flags& flags, unsigned uses) {
  for (const llm::Param& param : llm::AllParams()) {
    if ((param.uses & uses) == 0) continue;
    Value& value = values_.emplace_back(Value{.param = &param});
    const std::string name = llm::FlagOf(param);
    llm::Request request;
    const auto add = [&](auto field) {
      using Field = std::remove_pointer_t<decltype(field)>;
      if constexpr (std::is_same_v<Field, bool>) {
        flags.Add(name, &value.given, *field ? "do not " + std::string(param.help) : param.help);
      } else if constexpr (std::is_same_v<Field, double> || std::is_same_v<Field, std::optional<double>>) {
        flags.Add(name, &value.number, param.help);
      } else if constexpr (std::is_same_v<Field, int64_t> || std::is_same_v<Field, std::optional<int64_t>>) {
        flags.Add(name, &value.integer, param.help);
      } else {
        flags.Add(name, &value.texts, std::string(param.help) + "; may be repeated");
      }
    };
    std::visit(add, param.field(request));
  }
}

Result<boost::json::object> ParamFlags::Given() const {
  boost::json::object given;
  llm::Request scratch;
  for (const Value& value : values_) {
    const llm::Param& param = *value.param;
    boost::json::value& json = given[param.name];
    const boost::json::value unset = ValueOf(param, scratch);
    if (value.integer) json = *value.integer;
    if (value.number) json = *value.number;
    if (value.given) json = !unset.get_bool();
    if (!value.texts.empty() && unset.is_array()) json = boost::json::array(value.texts.begin(), value.texts.end());
    if (!value.texts.empty() && unset.is_object()) {
      INGOT_ASSIGN_OR_RETURN(json, ParseLogitBias(value.texts));
    }
    if (json.is_null()) given.erase(param.name);
  }
  const Status status = SetParams(given, &scratch);
  if (!status.ok()) return Error(OfFlag(status));
  return given;
}

Status ApplyParams(const boost::json::object& given, const llm::Llm& llm, llm::Request* request) {
  request->sampling = llm.default_sampling();
  return SetParams(given, request);
}

Status OfFlag(const Status& status) {
  const llm::Param* param = llm::FindParam(status.field());
  if (param == nullptr || !status.message().starts_with(param->name)) return status;
  return {status.code(), llm::FlagOf(*param) + status.message().substr(std::string_view(param->name).size())};
}

Result<std::string> ReadStdin() {
  if (isatty(STDIN_FILENO) == 1) Say("reading from the terminal; Ctrl-D ends the text\n");
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  if (HasPipedStdin() && poll(&input, 1, 1000) == 0) Say("waiting for standard input; `< /dev/null` gives none\n");
  std::string text;
  char buffer[65536];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0;) text.append(buffer, n);
  if (std::ferror(stdin) != 0) return Io("cannot read standard input: {}", std::strerror(errno));
  return text;
}

bool HasPipedStdin() {
  struct stat status{};
  return fstat(STDIN_FILENO, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISREG(status.st_mode));
}

bool StdoutIsTerminal() { return isatty(STDOUT_FILENO) == 1; }
bool StderrIsTerminal() { return isatty(STDERR_FILENO) == 1; }
bool UseColor() { return StdoutIsTerminal() && !GetEnv("NO_COLOR"); }

std::string ShellQuoted(const std::string& text) {
  constexpr std::string_view kHarmless = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=@%+,-";
  if (!text.empty() && text.find_first_not_of(kHarmless) == std::string::npos) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\"'\"'") : std::string(1, c);
  return out + "'";
}

InterruptGuard::InterruptGuard(OnSecond on_second) {
  interrupts = 0;
  struct sigaction action{};
  action.sa_handler = on_second == OnSecond::kEnds ? CountInterruptOrEnd : CountInterrupt;
  sigaction(SIGINT, &action, &before_);
}
InterruptGuard::~InterruptGuard() { sigaction(SIGINT, &before_, nullptr); }
bool InterruptGuard::interrupted() const { return interrupts > 0; }

}  // namespace ingot::cli
