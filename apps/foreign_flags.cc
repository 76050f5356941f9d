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
    {"--max-batch-size", "--max-num-seqs --parallel -np --instance-num"},
    {"--max-prefill-token-num", "--max-num-batched-tokens --batch-size -b"},
    {"--cache-max-entry-count", "--gpu-memory-utilization"},
    {"--kv-cache-memory", "--kv-cache-memory-bytes"},
    {"--cache-block-seq-len", "--block-size"},
    {"--enable-prefix-caching=false", "--no-enable-prefix-caching"},
    {"--tp", "--tensor-parallel-size -tp"},
    {"--model-format", "--quantization -q"},
    {"--threads", "-t"},
    {"--ssl-certfile", "--ssl-cert-file"},
    {"--ssl-keyfile", "--ssl-key-file"},
    {"--disable-docs", "--no-webui"},
    {"--log-level=off", "--log-disable"},
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
  const char* in_effect = nullptr;  // values that it has anyway, which are accepted; "": it has no value
  bool may_stand_alone = false;     // its value may be left out
  bool is_ignored = false;          // no answer depends on it: any value is accepted, and the remark is printed
};
constexpr Foreign kForeign[] = {
    {"--device", "this command computes on the CPU"},
    {"--dp --pipeline-parallel-size -pp --data-parallel-size -dp", kOneDevice, "1"},
    {"--n-gpu-layers --gpu-layers -ngl --main-gpu -mg", kOneDevice, "0", false, true},
    {"--split-mode -sm --tensor-split -ts", kOneDevice, "none", false, true},
    {"--communicator", kOneDevice, "none"},
    {"--nnodes", "one process computes, on one machine", "1"},
    {"--distributed-executor-backend", "one process computes, on one machine", "mp", false, true},
    {"--override-tensor -ot --n-cpu-moe -ncmoe", kOneDevice, nullptr, false, true},
    {"--disable-custom-all-reduce --worker-use-ray --cpu-moe -cmoe --no-kv-offload -nkvo", kOneDevice, ""},
    {"--rpc", "one process computes, on one machine"},
    {"--api-server-count --threads-http", "one thread does all input and output of the server", "1", false, true},
    {"--threads-batch -tb", "prefill and decode have the same threads: --threads", nullptr, false, true},
    {"--numa --prio --poll --cpu-mask -C --cpu-range -Cr",
     "threads stay on the CPUs that the process may use, which taskset, numactl and nice change", nullptr, false, true},
    {"--generation-config",
     "sampling defaults are those of the checkpoint's generation_config.json; --override-generation-config has others",
     "auto"},
    {"--kv-cache-dtype", "here it is --quant-policy 8 (int8) or 4 (int4); 0 is fp16, or bf16 with --dtype bfloat16",
     "auto"},
    {"--cache-type-k -ctk --cache-type-v -ctv", "here it is --quant-policy 8 (int8) or 4 (int4), for keys and values",
     "f16"},
    {"--load-format", "how the weights are stored is read from the checkpoint", "auto safetensors gguf"},
    {"--tokenizer --tokenizer-mode", "the tokenizer is the checkpoint's", "auto"},
    {"--task --runner", "this server generates text", "generate auto"},
    {"--cap", "the route of a request says whether a text is completed or a conversation answered", "chat completion"},
    {"--trust-remote-code", "Ingot runs no code from a checkpoint, so it needs no trust", ""},
    {"--enforce-eager --eager-mode", "there are no graphs to leave out", ""},
    {"--compilation-config --max-seq-len-to-capture", "there are no graphs to compile", nullptr, false, true},
    {"--async-scheduling", "how steps are planned and computed depends on the device alone", ""},
    {"--num-scheduler-steps", "each step is planned after the one before", "1", false, true},
    {"--defrag-thold -dt", "the cache is blocks of one size, which do not fragment", nullptr, false, true},
    {"--kv-unified -kvu", "all sequences share one cache", ""},
    {"--chat-template-content-format", "content is given to the template in the form that it reads", "auto"},
    {"--offline", "nothing is downloaded", ""},
    {"--log-timestamps --log-prefix", "every line of the log has its time and level", ""},
    {"--enable-request-id-headers", "every answer has an X-Request-Id", ""},
    {"--enable-chunked-prefill", "prefill always comes in chunks; --max-prefill-token-num is their size", ""},
    {"--ubatch-size -ub --num-tokens-per-iter --max-prefill-iters",
     "--max-prefill-token-num (or -b) is the size of a forward pass", nullptr, false, true},
    {"--swap-space --cpu-offload-gb",
     "nothing is swapped: a preempted request is recomputed, and weights stay where they are", "0", false, true},
    {"--preemption-mode", "a preempted request is recomputed", "recompute"},
    {"--scheduling-policy", "requests rank by arrival, and by their field `priority` where they have it",
     "fcfs priority"},
    {"--qos-config-path", "requests rank by arrival, and by their field `priority` where they have it"},
    {"--flash-attn -fa --flash-attention",
     "attention is always computed block by block, without the matrix of all scores", "on auto 1 true", true},
    {"--cont-batching -cb", "requests are always batched continuously", ""},
    {"--no-cont-batching -nocb", "requests are always batched continuously; --max-batch-size 1 runs one at a time"},
    {"--cache-prompt", "beginnings that prompts share are always cached", ""},
    {"--cache-reuse --cache-ram", "beginnings that prompts share are cached as they are", "0", false, true},
    {"--slot-save-path", "--session-db keeps conversations across restarts"},
    {"--no-context-shift", "a context is never shifted: a prompt that is too long is refused", ""},
    {"--context-shift", "a context is never shifted: a prompt that is too long is refused"},
    {"--rope-scaling --rope-freq-base --rope-freq-scale --rope-scaling-factor --hf-overrides --use-logn-attn",
     "positions are as the checkpoint's config.json says, which can be edited", "0 0.0"},
    {"--jinja", "templates are always rendered as Jinja", ""},
    {"--no-jinja", "templates are always rendered as Jinja; --chat-template has built-in ones"},
    {"--mlock --no-mmap", "weights are packed into memory of Ingot's own while the file is read", ""},
    {"--webui --slots --props --metrics", "the pages, /slots, /props and /metrics are always there", ""},
    {"--no-warmup --warmup --no-perf", "nothing is warmed up or printed that it would change", ""},
    {"--disable-log-requests --disable-log-stats --log-colors",
     "the log contains nothing of prompts and answers, and no statistics, which are at /metrics", ""},
    {"--enable-log-requests --max-log-len", "the log contains nothing of prompts and answers"},
    {"--disable-uvicorn-access-log", "a request is a line of level info; --log-level warning leaves them out"},
    {"--uvicorn-log-level --verbose --verbosity -lv", "--log-level debug, info, warning, error or off says how much"},
    {"--timeout -to", "a request's field `timeout` limits it; --idle-timeout closes connections without a request"},
    {"--conversation -cnv --interactive -i --color",
     "`ingot chat` is a conversation, and `ingot generate` answers one prompt", ""},
    {"--escape -e", "the prompt is taken as it is; $'...' of the shell writes line breaks"},
    {"--file -f", "a prompt in a file is read from standard input: ingot generate MODEL < FILE"},
    {"--enable-auto-tool-choice --tool-call-parser", "tools are not supported"},
    {"--guided-decoding-backend --structured-outputs-config --grammar --grammar-file --json-schema -j",
     "answers in a given form (grammars, JSON schemas) are not supported"},
    {"--reasoning-parser --reasoning-format", "an answer's text comes whole, with what the model thinks before it",
     "none"},
    {"--enable-lora --lora-modules --max-loras --max-lora-rank --lora --adapters", "LoRA adapters are not supported"},
    {"--mmproj --limit-mm-per-prompt", "models of images and sound are not supported"},
    {"--embedding --embeddings --reranking --rerank --pooling", "embeddings are not supported"},
    {"--max-logprobs", "a request may ask for up to 20 alternatives a token", "20"},
    {"--speculative-config --model-draft -md --draft-max --draft",
     "speculation is by prompt lookup, without a draft model: --speculative-ngram N"},
    {"--revision", "it is part of the model's name: Org/Name@REVISION"},
    {"--download-dir --model-url -mu --hf-file -hff",
     "nothing is downloaded; HF_HOME names the cache that models are read from"},
};
static_assert(std::ranges::none_of(kForeign, [](const Foreign& f) { return f.is_ignored && f.may_stand_alone; }));

constexpr const char* kOff = "off 0 false";

// Of requests, beside kAliases.
constexpr const char* kSamplingFlags =
    "--top-k --top-p --min-p --presence-penalty --frequency-penalty --ignore-eos --stop --logit-bias --bad-words";

// Whether `names` has this one.
bool Has(std::string_view names, std::string_view name) {
  if (name.empty()) return false;
  for (size_t end = 0; !names.empty(); names.remove_prefix(std::min(names.size(), end + 1))) {
    end = std::min(names.find(' '), names.size());
    if (names.substr(0, end) == name) return true;
  }
  return false;
}

constexpr const char* kCommandFirst =
    "a command comes first: `ingot generate -m MODEL -p TEXT`, `ingot chat -m MODEL`, `ingot serve -m MODEL`";

// Commands of theirs.
struct Instead {
  const char *command, *line;
};
constexpr Instead kInstead[] = {
    {"-m", kCommandFirst},
    {"--model", kCommandFirst},
    {"-hf", kCommandFirst},
    {"--hf-repo", kCommandFirst},
    {"serve triton_client", "`ingot chat http://HOST:PORT` talks to a server"},
    {"serve api_client", "`ingot chat http://HOST:PORT` talks to a server"},
    {"serve proxy", "there is no proxy here; any balancer of HTTP in front of several `ingot serve MODEL` will do"},
    {"api_client", "`ingot chat http://HOST:PORT` talks to a server"},
    {"convert turbomind", "nothing is converted before serving: `ingot serve MODEL` reads the checkpoint as it is"},
    {"chat turbomind", "`ingot chat MODEL` takes the checkpoint itself, not a converted workspace"},
    {"chat torch", "`ingot chat MODEL --backend pytorch` computes it with PyTorch"},
    {"chat hf", "`ingot chat MODEL --backend pytorch` computes it with PyTorch"},
    {"lite gptq", "it is `ingot lite auto_gptq MODEL --work-dir DIR`"},
    {"lite kv_qparams", "an int8 KV cache needs no calibration: `ingot serve MODEL --quant-policy 8`"},
    {"run", "`ingot chat MODEL` talks to a model; `ingot generate MODEL -p TEXT` answers one prompt"},
    {"complete", "`ingot generate MODEL --raw -p TEXT` completes a text"},
    {"run-batch", "`ingot batch IN.jsonl -o OUT.jsonl MODEL` answers a file of requests"},
    {"collect-env", "it is `ingot check_env`"},
    {"server", "it is `ingot serve MODEL`"},
    {"llama-server", "it is `ingot serve MODEL`"},
    {"llama-cli", "`ingot chat MODEL` talks to a model; `ingot generate MODEL -p TEXT` answers one prompt"},
    {"bench -m", "`ingot bench latency MODEL` and `ingot bench throughput MODEL` measure it"},
    {"imatrix", "`ingot lite auto_awq MODEL --work-dir DIR` measures what it needs while it quantizes"},
    {"embedding", "embeddings are not supported"},
    {"gguf-split", "files are read as they are, split or not"},
    {"push", "nothing is uploaded: models are the files that they are"},
    {"signin", "there are no accounts, and nothing is downloaded or uploaded"},
    {"cli", "`ingot chat MODEL` talks to a model; `ingot generate MODEL -p TEXT` answers one prompt"},
    {"pull", "nothing is downloaded: MODEL is a file, a folder, or Org/Name in the Hugging Face cache"},
    {"create",
     "there is no Modelfile; --override-generation-config, --meta-instruction and --chat-template, or a file "
     "for --config, say the same"},
    {"rm", "models are the files that they are; remove the file"},
    {"cp", "models are the files that they are; --model-name names one in requests"},
    {"stop", "a model is loaded by its server: Ctrl-C or SIGTERM stops `ingot serve`"},
    {"show", "`ingot info MODEL` shows a model"},
    {"ps", "`curl http://HOST:PORT/v1/models` lists what a server serves"},
    {"quantize", "`ingot lite auto_awq MODEL --work-dir DIR` quantizes; with --to gguf it writes GGUF"},
    {"perplexity", "`ingot eval ppl MODEL --file TEXT` measures it"},
    {"ls", "MODEL is a checkpoint, not a name of a list; `ingot info MODEL` says whether it can be read"},
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

// A word or a number, -1 too, and no flag.
bool IsValue(std::string_view argument) {
  return !argument.starts_with("-") || (argument.size() > 1 && argument[1] >= '0' && argument[1] <= '9');
}

// Whether the flag says what is so here anyway; then `at` is moved to its value, if that is an argument of its own.
bool IsSoAnyway(const std::vector<std::string>& arguments, size_t* at) {
  const auto [name, own_value] = Split(arguments[*at]);
  const auto foreign = std::ranges::find_if(kForeign, [&](const Foreign& one) { return Has(one.names, name); });
  if (foreign == std::end(kForeign) || foreign->in_effect == nullptr) return false;
  const std::string_view values = foreign->in_effect;
  if (own_value) return Has(values, *own_value);
  const std::string next = *at + 1 < arguments.size() ? arguments[*at + 1] : "";
  if (Has(values, next)) {
    ++*at;
    return true;
  }
  return values.empty() || (foreign->may_stand_alone && !Has(kOff, next));
}

// Whether no answer depends on the flag; then `at` is moved to its value, if that is an argument of its own, and a line
// about it is appended.
bool IsIgnored(const std::vector<std::string>& arguments, size_t* at, std::vector<std::string>* remarks) {
  const auto [name, own_value] = Split(arguments[*at]);
  const auto foreign = std::ranges::find_if(kForeign, [&](const Foreign& one) { return Has(one.names, name); });
  if (foreign == std::end(kForeign) || !foreign->is_ignored) return false;
  if (!own_value && *at + 1 < arguments.size() && IsValue(arguments[*at + 1])) ++*at;
  remarks->push_back(fmt::format("{} is ignored: {}", name, foreign->remark));
  return true;
}

}  // namespace

std::vector<std::string> Translate(const std::vector<std::string>& arguments, std::vector<std::string>* remarks) {
  const std::string command = WordAt(arguments, 0), second = WordAt(arguments, 1);
  const bool serves = command == "serve", has_texts = command == "eval" || command == "tokenize";
  // Others have flags of their own under most of their names.
  const bool answers = serves || command == "generate" || command == "chat";
  if (command.empty() || (command == "bench" && second == "serve")) return arguments;
  std::vector<std::string> out = {command};
  const bool asks_for_help = arguments.size() < 2 || arguments[1] == "--help" || arguments[1] == "-h";
  if (serves && !asks_for_help && NearestOf(second, {"api_server", "gradio", "triton"}).empty())
    out.emplace_back("api_server");
  for (size_t i = 1; i < arguments.size(); ++i) {
    const auto [name, own_value] = Split(arguments[i]);
    // The model, or a server's address: its flag goes, its name stays.
    if (Has("-m --model --model-path -hf -hfr --hf-repo", name) || (command == "chat" && name == "--url")) {
      if (own_value) out.push_back(*own_value);
      continue;
    }
    if (answers && (IsSoAnyway(arguments, &i) || IsIgnored(arguments, &i, remarks))) continue;
    const auto alias = std::ranges::find_if(kAliases, [&](const Alias& one) { return Has(one.theirs, name); });
    const bool is_alias = answers && alias != std::end(kAliases) && (name != "--api-key" || serves);
    const char* ours = is_alias                                                        ? alias->ours
                       : has_texts && name == "-f"                                     ? "--file"
                       : command == "tokenize" && (name == "-p" || name == "--prompt") ? "--text"
                                                                                       : nullptr;
    if (ours == nullptr) {
      out.push_back(arguments[i]);
    } else {
      out.push_back(own_value ? fmt::format("{}={}", ours, *own_value) : ours);
    }
  }
  return out;
}

std::string ExplainForeignCommand(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return "";
  const std::string one = Split(arguments[0]).name, two = one + " " + (arguments.size() > 1 ? arguments[1] : "");
  // `lmdeploy convert NAME PATH`; ours says --to.
  const bool has_target = std::ranges::any_of(arguments, [](const std::string& a) { return a.starts_with("--to"); });
  const bool converts_name = one == "convert" && !WordAt(arguments, 1).empty() && !WordAt(arguments, 2).empty();
  for (const auto& [command, line] : kInstead) {
    const bool is_convert = std::string_view(command) == "convert turbomind" && converts_name && !has_target;
    if (one == command || two == command || is_convert) return fmt::format("{}: {}", command, line);
  }
  return "";
}

std::string NearestOf(std::string_view word, const std::vector<std::string>& names) {
  std::string nearest;
  size_t best = 1 + (word.size() <= 3 ? 1 : std::max<size_t>(2, word.size() / 3));  // -sp is no slip of --tp
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
    const std::string_view values = foreign.in_effect == nullptr ? "" : foreign.in_effect;
    return fmt::format("{}: {}{}", flag, foreign.remark,
                       values.empty() ? "" : fmt::format("; {} is what it has", values.substr(0, values.find(' '))));
  }
  const bool is_alias =
      std::ranges::any_of(kAliases, [&](const Alias& one) { return Has(one.theirs, flag) || flag == one.ours; });
  if (is_alias || Has(kSamplingFlags, flag)) {
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
