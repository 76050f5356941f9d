#include "foreign_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "build_info.h"

namespace ingot::cli {
namespace {

// A flag of ours, and what vLLM, llama.cpp and LMDeploy call it. Only the command decides whether it takes that.
struct Alias {
  const char *ours, *theirs;  // names with spaces between them
};
constexpr Alias kAliases[] = {
    {"--server-name", "--host"},
    {"--server-port", "--port"},
    {"--api-keys", "--api-key"},
    {"--api-keys-file", "--api-key-file"},
    {"--model-name", "--served-model-name --alias -a"},
    {"--session-len", "--max-model-len --ctx-size -c"},
    {"--max-batch-size", "--max-num-seqs --parallel -np"},
    {"--max-prefill-token-num", "--max-num-batched-tokens --batch-size -b"},
    {"--cache-max-entry-count", "--gpu-memory-utilization"},
    {"--cache-block-seq-len", "--block-size"},
    {"--enable-prefix-caching=false", "--no-enable-prefix-caching"},
    {"--tp", "--tensor-parallel-size -tp"},
    {"--threads", "-t"},
    {"--idle-timeout", "--timeout-keep-alive"},
    {"--root-path", "--api-prefix"},
    {"--chat-template", "--chat-template-file"},
    {"--meta-instruction", "--system-prompt -sys"},
    {"--max-tokens", "--max-new-tokens --n-predict --predict -n"},
    {"--temperature", "--temp"},
    {"--repetition-penalty", "--repeat-penalty"},
    {"--seed", "--random-seed -s"},
};

constexpr const char* kOneDevice = INGOT_COMPUTES_ON ", and layers are not split between devices";

// Flags of theirs that are none of ours.
struct Foreign {
  const char* names;
  const char* remark;               // why there is none
  const char* in_effect = nullptr;  // the value that it has anyway, which is accepted; "": it has no value
};
constexpr Foreign kForeign[] = {
    {"--backend", "there is one engine, Ingot's own", "turbomind"},
    {"--device", "this command computes on the CPU"},
    {"--dp", kOneDevice, "1"},
    {"--n-gpu-layers --gpu-layers -ngl", kOneDevice, "0"},
    {"--nnodes", "one process computes, on one machine", "1"},
    {"--generation-config",
     "sampling defaults are those of the checkpoint's generation_config.json; --override-generation-config has others",
     "auto"},
    {"--kv-cache-dtype", "here it is --quant-policy 8 (int8) or 4 (int4); 0 is fp16, or bf16 with --dtype bfloat16",
     "auto"},
    {"--cache-type-k --cache-type-v", "here it is --quant-policy 8 (int8) or 4 (int4), for keys and values", "f16"},
    {"--load-format --quantization", "how the weights are stored is read from the checkpoint", "auto"},
    {"--trust-remote-code", "Ingot runs no code from a checkpoint, so it needs no trust", ""},
    {"--enforce-eager --eager-mode", "there are no graphs to leave out", ""},
    {"--enable-chunked-prefill", "prefill always comes in chunks; --max-prefill-token-num is their size", ""},
    {"--jinja", "templates are always rendered as Jinja", ""},
    {"--mlock --no-mmap", "weights are packed into memory of Ingot's own while the file is read", ""},
    {"--metrics", "/metrics is always there", ""},
    {"--disable-log-requests", "the log contains nothing of prompts and answers", ""},
    {"--enable-auto-tool-choice --tool-call-parser", "tools are not supported"},
    {"--reasoning-parser", "an answer's text comes whole, with what the model thinks before it"},
    {"--lora-modules --adapters", "LoRA adapters are not supported"},
    {"--speculative-config", "speculation is by prompt lookup, without a draft model: --speculative-ngram N"},
    {"--revision", "it is part of the model's name: Org/Name@REVISION"},
    {"--download-dir", "nothing is downloaded; HF_HOME names the cache that models are read from"},
};

// Whether `names` has this one.
bool Has(std::string_view names, std::string_view name) {
  for (size_t end = 0; !names.empty(); names.remove_prefix(std::min(names.size(), end + 1))) {
    end = std::min(names.find(' '), names.size());
    if (names.substr(0, end) == name) return true;
  }
  return false;
}

// Commands of theirs.
struct Instead {
  const char *command, *line;
};
constexpr Instead kInstead[] = {
    {"serve triton_client", "`ingot chat http://HOST:PORT` talks to a server"},
    {"serve api_client", "`ingot chat http://HOST:PORT` talks to a server"},
    {"serve proxy", "there is no proxy here; any balancer of HTTP in front of several `ingot serve MODEL` will do"},
    {"api_client", "`ingot chat http://HOST:PORT` talks to a server"},
    {"convert turbomind", "nothing is converted before serving: `ingot serve MODEL` reads the checkpoint as it is"},
    {"chat turbomind", "`ingot chat MODEL` takes the checkpoint itself, not a converted workspace"},
    {"chat torch", "`ingot chat MODEL` takes the checkpoint; there is one engine"},
    {"lite kv_qparams", "an int8 KV cache needs no calibration: `ingot serve MODEL --quant-policy 8`"},
    {"run", "`ingot chat MODEL` talks to a model; `ingot generate MODEL -p TEXT` answers one prompt"},
    {"pull", "nothing is downloaded: MODEL is a file, a folder, or Org/Name in the Hugging Face cache"},
    {"show", "`ingot info MODEL` shows a model"},
    {"ps", "`curl http://HOST:PORT/v1/models` lists what a server serves"},
    {"quantize", "`ingot lite auto_awq MODEL --work-dir DIR` quantizes; with --to gguf it writes GGUF"},
    {"perplexity", "`ingot eval ppl MODEL --file TEXT` measures it"},
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
  if (serves && !asks_for_help && NearestOf(second, {"api_server", "gradio", "triton"}).empty())
    out.emplace_back("api_server");
  for (size_t i = 1; i < arguments.size(); ++i) {
    const auto [name, own_value] = Split(arguments[i]);
    const bool has_next = !own_value && i + 1 < arguments.size();
    const auto foreign = std::ranges::find_if(kForeign, [&](const Foreign& one) { return Has(one.names, name); });
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
    const auto alias = std::ranges::find_if(kAliases, [&](const Alias& one) { return Has(one.theirs, name); });
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
  if (!arguments.empty() && (arguments[0] == "-m" || arguments[0] == "--model"))
    return "-m: a command comes first: `ingot generate -m MODEL -p TEXT`, `ingot chat -m MODEL`, `ingot serve -m "
           "MODEL`";
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
    if (!Has(foreign.names, flag)) continue;
    const bool has_value = foreign.in_effect != nullptr && *foreign.in_effect != '\0';
    return fmt::format("{}: {}{}", flag, foreign.remark,
                       has_value ? fmt::format("; {} is what it has", foreign.in_effect) : "");
  }
  for (const auto& [ours, theirs] : kAliases) {
    if (!Has(theirs, flag) && flag != ours) continue;
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
