#include "foreign_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "build_info.h"

namespace ingot::cli {
namespace {

// A flag of theirs that is one of ours. Only the command decides whether it takes that.
struct Alias {
  const char *theirs, *ours;
};
constexpr Alias kAliases[] = {
    // vLLM
    {"--host", "--server-name"},
    {"--port", "--server-port"},
    {"--api-key", "--api-keys"},
    {"--max-model-len", "--session-len"},
    {"--max-num-seqs", "--max-batch-size"},
    {"--max-num-batched-tokens", "--max-prefill-token-num"},
    {"--gpu-memory-utilization", "--cache-max-entry-count"},
    {"--kv-cache-memory-bytes", "--kv-cache-memory"},
    {"--block-size", "--cache-block-seq-len"},
    {"--no-enable-prefix-caching", "--enable-prefix-caching=false"},
    {"--served-model-name", "--model-name"},
    {"--tensor-parallel-size", "--tp"},
    {"-tp", "--tp"},
    {"--uvicorn-log-level", "--log-level"},
    {"--enable-force-include-usage", "--always-include-usage"},
    {"--ssl-cert-file", "--ssl-certfile"},
    // llama.cpp
    {"-c", "--session-len"},
    {"--ctx-size", "--session-len"},
    {"-np", "--max-batch-size"},
    {"--parallel", "--max-batch-size"},
    {"-b", "--max-prefill-token-num"},
    {"--batch-size", "--max-prefill-token-num"},
    {"-t", "--threads"},
    {"-a", "--model-name"},
    {"--alias", "--model-name"},
    {"--api-key-file", "--api-keys-file"},
    {"--ssl-key-file", "--ssl-keyfile"},
    {"--chat-template-file", "--chat-template"},
    {"-sys", "--meta-instruction"},
    {"--system-prompt", "--meta-instruction"},
    {"-n", "--max-tokens"},
    {"--predict", "--max-tokens"},
    {"--n-predict", "--max-tokens"},
    {"--temp", "--temperature"},
    {"--repeat-penalty", "--repetition-penalty"},
    {"-s", "--seed"},
    // LMDeploy
    {"--max-new-tokens", "--max-tokens"},
    {"--request-output-len", "--max-tokens"},
    {"--random-seed", "--seed"},
};

constexpr const char* kOneDevice = INGOT_COMPUTES_ON ", and layers are not split between devices";
constexpr const char* kOneProcess = "one process computes, on one machine";
constexpr const char* kFormatIsRead = "how the weights are stored is read from the checkpoint";
constexpr const char* kNothingIsFetched = "nothing is downloaded; HF_HOME names the cache that models are read from";

// A flag of theirs that is none of ours.
struct Foreign {
  const char* name;
  const char* remark;               // why there is none
  const char* in_effect = nullptr;  // the value that is so anyway, and taken; "": it has no value
};
constexpr Foreign kForeign[] = {
    {"--backend", "there is one engine, Ingot's own", "turbomind"},
    {"--device", kOneDevice, "cpu"},
    {"--dp", kOneDevice, "1"},
    {"--ep", kOneDevice, "1"},
    {"--cp", kOneDevice, "1"},
    {"-ngl", kOneDevice, "0"},
    {"--gpu-layers", kOneDevice, "0"},
    {"--n-gpu-layers", kOneDevice, "0"},
    {"--nnodes", kOneProcess, "1"},
    {"--node-rank", kOneProcess, "0"},
    {"--generation-config",
     "sampling defaults are those of the checkpoint's generation_config.json; --override-generation-config has others",
     "auto"},
    {"--kv-cache-dtype", "here it is --quant-policy 8 (int8) or 4 (int4); 0 is fp16, or bf16 with --dtype bfloat16",
     "auto"},
    {"--cache-type-k", "here it is --quant-policy 8 (int8) or 4 (int4), for keys and values alike", "f16"},
    {"--cache-type-v", "here it is --quant-policy 8 (int8) or 4 (int4), for keys and values alike", "f16"},
    {"--load-format", kFormatIsRead, "auto"},
    {"--quantization", kFormatIsRead},
    {"--trust-remote-code", "Ingot runs no code from a checkpoint, so it needs no trust", ""},
    {"--enforce-eager", "there are no graphs to leave out", ""},
    {"--eager-mode", "there are no graphs to leave out", ""},
    {"--enable-chunked-prefill", "prefill always comes in chunks; --max-prefill-token-num is their size", ""},
    {"--jinja", "templates are always rendered as Jinja", ""},
    {"--mlock", "weights are packed into memory of Ingot's own at load", ""},
    {"--no-mmap", "files are always mapped, and let go of once the weights are packed", ""},
    {"--metrics", "/metrics is always there", ""},
    {"--disable-log-requests", "the log has nothing of what is asked and answered", ""},
    {"--enable-auto-tool-choice", "tools are not supported"},
    {"--tool-call-parser", "tools are not supported"},
    {"--reasoning-parser", "an answer's text comes whole, with what the model thinks before it"},
    {"--lora-modules", "LoRA adapters are not supported"},
    {"--adapters", "LoRA adapters are not supported"},
    {"--speculative-config", "there is no speculative decoding"},
    {"--root-path", "let the proxy take the prefix off before it passes a request on"},
    {"--allowed-origins", "here it is --allow-origins ORIGIN, which may be repeated"},
    {"--revision", "it is part of the model's name: Org/Name@REVISION"},
    {"--download-dir", kNothingIsFetched},
};

// Commands of theirs.
struct Instead {
  const char *command, *line;
};
constexpr Instead kInstead[] = {
    {"serve gradio", "the chat page is a part of the server: `ingot serve MODEL`, then /chat in a browser"},
    {"serve triton", "Ingot is no backend of Triton yet; `ingot serve MODEL` answers over HTTP"},
    {"serve triton_client", "`ingot chat http://HOST:PORT` talks to a server"},
    {"serve api_client", "`ingot chat http://HOST:PORT` talks to a server"},
    {"serve proxy", "there is no proxy here; any balancer of HTTP in front of several `ingot serve MODEL` will do"},
    {"api_client", "`ingot chat http://HOST:PORT` talks to a server"},
    {"convert turbomind", "nothing is converted before serving: `ingot serve MODEL` reads the checkpoint as it is"},
    {"chat turbomind", "`ingot chat MODEL` takes the checkpoint itself, not a converted workspace"},
    {"chat torch", "`ingot chat MODEL` takes the checkpoint; there is one engine"},
    {"lite kv_qparams", "an int8 KV cache needs no calibration: `ingot serve MODEL --quant-policy 8`"},
    {"list", "MODEL is a checkpoint, not a name of a list; `ingot info MODEL` says whether it can be read"},
};

// A word of the command line, before its flags: "serve", "api_server".
std::string WordAt(const std::vector<std::string>& arguments, size_t index) {
  const bool is_word = index < arguments.size() && !arguments[index].starts_with("-");
  return is_word ? arguments[index] : "";
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

// One argument, and the value that follows it or is a part of it.
struct Given {
  std::string name;
  std::optional<std::string> own_value;  // of --name=value
};
Given Split(const std::string& argument) {
  const size_t equals = argument.starts_with("-") ? argument.find('=') : std::string::npos;
  if (equals == std::string::npos) return {argument, std::nullopt};
  return {argument.substr(0, equals), argument.substr(equals + 1)};
}

}  // namespace

std::vector<std::string> Translate(const std::vector<std::string>& arguments) {
  const std::string command = WordAt(arguments, 0), second = WordAt(arguments, 1);
  const bool serves = command == "serve";
  // Others have flags of their own under such names.
  if (!serves && command != "generate" && command != "chat") return arguments;
  std::vector<std::string> out = {command};
  const bool asks_for_help = arguments.size() < 2 || arguments[1] == "--help" || arguments[1] == "-h";
  if (serves && !asks_for_help && NearestOf(second, {"api_server"}).empty()) out.emplace_back("api_server");
  for (size_t i = 1; i < arguments.size(); ++i) {
    const auto [name, own_value] = Split(arguments[i]);
    const bool has_next = !own_value && i + 1 < arguments.size();
    const auto foreign =
        std::ranges::find(kForeign, name, [](const Foreign& one) { return std::string_view(one.name); });
    if (foreign != std::end(kForeign) && foreign->in_effect != nullptr) {
      const std::string_view value = foreign->in_effect;
      if (value.empty() && !own_value) continue;
      if (own_value == value) continue;
      if (has_next && arguments[i + 1] == value && ++i > 0) continue;
    }
    // The model: its flag goes, its name stays.
    if (name == "-m" || name == "--model" || name == "--model-path") {
      if (own_value) out.push_back(*own_value);
      continue;
    }
    const auto alias = std::ranges::find(kAliases, name, [](const Alias& one) { return std::string_view(one.theirs); });
    const bool is_own = alias == std::end(kAliases) || (name == "--api-key" && !serves);
    if (is_own) {
      out.push_back(arguments[i]);
    } else {
      out.push_back(own_value ? fmt::format("{}={}", alias->ours, *own_value) : alias->ours);
    }
  }
  return out;
}

std::string ExplainForeignCommand(const std::vector<std::string>& arguments) {
  const std::string one = WordAt(arguments, 0), two = one + " " + WordAt(arguments, 1);
  for (const auto& [command, line] : kInstead) {
    if (one == command || two == command) return fmt::format("{}: {}", command, line);
  }
  return "";
}

std::string NearestOf(std::string_view word, const std::vector<std::string>& names) {
  std::string nearest;
  size_t best = 1 + std::max<size_t>(2, word.size() / 3);
  for (const std::string& name : names) {
    const size_t distance = EditDistance(word, name);
    if (distance < best) {
      best = distance;
      nearest = name;
    }
  }
  return nearest;
}

std::string ExplainUnknownFlag(const std::string& flag, const std::vector<std::string>& known,
                               const std::string& command) {
  for (const Foreign& foreign : kForeign) {
    if (flag != foreign.name) continue;
    const bool has_value = foreign.in_effect != nullptr && *foreign.in_effect != '\0';
    return fmt::format("{}: {}{}", flag, foreign.remark,
                       has_value ? fmt::format("; {} is what it has", foreign.in_effect) : "");
  }
  for (const auto& [theirs, ours] : kAliases) {
    if (flag != theirs && flag != ours) continue;
    const bool is_of_answers = command.ends_with("api_server");
    return fmt::format(
        "{}: `{}` has no use for it{}", flag, command,
        is_of_answers ? "; every request says for itself, and --override-generation-config has defaults" : "");
  }
  const std::string nearest = NearestOf(flag, known);
  return nearest.empty() ? fmt::format("there is no flag {}", flag)
                         : fmt::format("there is no flag {}; did you mean {}?", flag, nearest);
}

}  // namespace ingot::cli
