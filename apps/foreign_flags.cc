#include "foreign_flags.h"

#include <fmt/format.h>

#include <algorithm>

namespace ingot::cli {
namespace {

struct Foreign {
  const char* theirs;
  const char* ours;                 // the flag here; null: there is none
  const char* remark;               // what to know of it, or why there is none
  const char* in_effect = nullptr;  // without a flag of ours: the value that is so anyway, and taken
};

constexpr const char* kCpuOnly = "this build computes on the CPU, and layers are not split between devices";
constexpr const char* kOneProcess = "one process computes, on one machine";
constexpr const char* kNoGraphs = "there are no graphs to leave out";
constexpr const char* kNoAdapters = "LoRA adapters are not supported";
constexpr const char* kNoTools = "tools are not supported";
constexpr const char* kNoImages = "images are not supported";
constexpr const char* kNothingIsFetched = "nothing is downloaded; HF_HOME names the cache that models are read from";
constexpr const char* kModelIsArgument = "the model is an argument without a flag, after the command";
constexpr const char* kFormatIsRead = "how the weights are stored is read from the checkpoint";

constexpr Foreign kForeign[] = {
    // vLLM
    {"--max-model-len", "--session-len", ""},
    {"--max-num-seqs", "--max-batch-size", ""},
    {"--max-num-batched-tokens", "--max-prefill-token-num", ""},
    {"--gpu-memory-utilization", "--cache-max-entry-count",
     ", a fraction of what is free after the weights, or --kv-cache-memory SIZE"},
    {"--block-size", "--cache-block-seq-len", ""},
    {"--host", "--server-name", ""},
    {"--port", "--server-port", ""},
    {"--served-model-name", "--model-name", ""},
    {"--tensor-parallel-size", "--tp", ""},
    {"--kv-cache-dtype", "--quant-policy", " 8 (int8) or 4 (int4); 0 is fp16, or bf16 with --dtype bfloat16"},
    {"--api-key", "--api-keys", ""},
    {"--no-enable-prefix-caching", "--enable-prefix-caching", "=false"},
    {"--ssl-cert-reqs", "--ssl-ca-certs", ", which takes only clients with a certificate"},
    {"--quantization", nullptr, kFormatIsRead},
    {"--load-format", nullptr, kFormatIsRead},
    {"--swap-space", nullptr, "there is no swapping; see --kv-cache-memory"},
    {"--trust-remote-code", nullptr, "Ingot runs no code from a checkpoint, so it needs no trust"},
    {"--tokenizer", nullptr, "the tokenizer is the checkpoint's own"},
    {"--enforce-eager", nullptr, kNoGraphs},
    {"--data-parallel-size", nullptr, kCpuOnly, "1"},
    {"--pipeline-parallel-size", nullptr, kCpuOnly, "1"},
    {"--enable-auto-tool-choice", nullptr, kNoTools},
    {"--enable-lora", nullptr, kNoAdapters},
    {"--uvicorn-log-level", "--log-level", ""},
    {"--dataset-name", "--dataset-path", ": the file says of what kind it is, and without one prompts are random"},
    {"--save-result", "--json", ", to standard output"},
    {"--disable-tqdm", nullptr, "a bar is drawn on a terminal only"},
    {"--burstiness", "--request-rate", ", whose arrivals are a Poisson process: a burstiness of 1"},
    // llama.cpp
    {"-c", "--session-len", ""},
    {"--ctx-size", "--session-len", ""},
    {"-n", "--max-tokens", ""},
    {"--n-predict", "--max-tokens", ""},
    {"-t", "--threads", ""},
    {"-m", nullptr, kModelIsArgument},
    {"--model", nullptr, kModelIsArgument},
    {"-f", "--file", ""},
    {"-ngl", nullptr, kCpuOnly},
    {"--gpu-layers", nullptr, kCpuOnly},
    {"--n-gpu-layers", nullptr, kCpuOnly},
    {"--parallel", "--max-batch-size", ""},
    {"-np", "--max-batch-size", ""},
    {"--batch-size", "--max-prefill-token-num", ""},
    {"-b", "--max-prefill-token-num", ""},
    {"--ubatch-size", "--max-prefill-token-num", ""},
    {"-ub", "--max-prefill-token-num", ""},
    {"--temp", "--temperature", ""},
    {"--repeat-penalty", "--repetition-penalty", ""},
    {"--jinja", nullptr, "templates are always rendered as Jinja"},
    {"--system-prompt", "--meta-instruction", ""},
    {"-sys", "--meta-instruction", ""},
    {"--chat-template-file", "--chat-template", " FILE"},
    {"--no-mmap", nullptr, "files are always mapped, and let go of once the weights are packed"},
    {"--mlock", nullptr, "weights are packed into memory of Ingot's own at load"},
    {"--alias", "--model-name", ""},
    {"--ssl-cert-file", "--ssl-certfile", ""},
    {"--ssl-key-file", "--ssl-keyfile", ""},
    {"--threads-http", nullptr, "one thread does all I/O; it needs no number"},
    {"-ctk", "--quant-policy", " 8 (int8) or 4 (int4), for keys and values alike"},
    {"--cache-type-k", "--quant-policy", " 8 (int8) or 4 (int4), for keys and values alike"},
    {"--cache-type-v", "--quant-policy", " 8 (int8) or 4 (int4), for keys and values alike"},
    {"-fa", nullptr, "attention never forms the matrix of all scores; there is nothing to choose"},
    {"--flash-attn", nullptr, "attention never forms the matrix of all scores; there is nothing to choose"},
    // LMDeploy
    {"--max-new-tokens", "--max-tokens", ""},
    {"--request-output-len", "--max-tokens", ""},
    {"--device", nullptr, kCpuOnly, "cpu"},
    {"--dp", nullptr, kCpuOnly, "1"},
    {"--ep", nullptr, kCpuOnly, "1"},
    {"--cp", nullptr, kCpuOnly, "1"},
    {"--nnodes", nullptr, kOneProcess, "1"},
    {"--node-rank", nullptr, kOneProcess, "0"},
    {"--dist-init-addr", nullptr, kOneProcess},
    {"--communicator", nullptr, kCpuOnly},
    {"--backend", nullptr, "there is one engine, Ingot's own"},
    {"--generation-config", nullptr,
     "sampling defaults are those of the checkpoint's generation_config.json; every request may say otherwise", "auto"},
    {"--tool-call-parser", nullptr, kNoTools},
    {"--reasoning-parser", nullptr, "an answer's text comes whole, with what the model thinks before it"},
    {"--proxy-url", nullptr, "a server does not announce itself; give its address to the proxy"},
    {"--adapters", nullptr, kNoAdapters},
    {"--revision", nullptr, "it is part of the model's name: Org/Name@REVISION"},
    {"--download-dir", nullptr, kNothingIsFetched},
    {"--async", nullptr, "there is one way to schedule steps, and nothing to choose"},
    {"--eager-mode", nullptr, kNoGraphs},
    {"--allowed-media-domains", nullptr, kNoImages},
    {"--vision-max-batch-size", nullptr, kNoImages},
    {"--max-concurrent-requests", "--max-batch-size", ", and --max-queue is how many more may wait"},
    {"--max-log-len", nullptr, "the log has nothing of what is asked and answered"},
    {"--disable-metrics", nullptr, "/metrics is always there; where the server asks for keys, it asks for one too"},
    {"--hf-overrides", nullptr, "a checkpoint is taken as its config.json says; change it there"},
    {"--enable-abort-handling", nullptr, "to abort a request, close its connection"},
    {"--api-keys", "--api-key", ""},
    {"--max-prefill-iters", "--max-prefill-token-num", ""},
    {"--random-seed", "--seed", ""},
    {"--model-path", nullptr, kModelIsArgument},
    {"--csv", "--json", ", to standard output"},
    {"--output-file", "--json", ", to standard output"},
    {"--disable-ignore-eos", "--ignore-eos", ", which is off unless it is given"},
};

std::string ExplainForeign(const Foreign& foreign, const std::vector<std::string>& known, const std::string& command) {
  if (foreign.ours == nullptr) return fmt::format("{}: {}", foreign.theirs, foreign.remark);
  if (std::find(known.begin(), known.end(), foreign.ours) != known.end())
    return fmt::format("{}: here it is {}{}", foreign.theirs, foreign.ours, foreign.remark);
  const std::string_view ours = foreign.ours;
  if (command.ends_with("api_server") &&
      (ours == "--max-tokens" || ours == "--temperature" || ours == "--seed" || ours == "--repetition-penalty")) {
    return fmt::format("{}: every request says for itself", foreign.theirs);
  }
  return fmt::format("{}: elsewhere it is {}; `{}` has no use for it", foreign.theirs, ours, command);
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

}  // namespace

void AddFlagsInEffect(Flags& flags) {
  for (const Foreign& foreign : kForeign) {
    if (foreign.in_effect != nullptr) flags.AddInEffect(foreign.theirs, foreign.in_effect, foreign.remark);
  }
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
    if (flag == foreign.theirs) return ExplainForeign(foreign, known, command);
  }
  const std::string nearest = NearestOf(flag, known);
  return nearest.empty() ? fmt::format("there is no flag {}", flag)
                         : fmt::format("there is no flag {}; did you mean {}?", flag, nearest);
}

}  // namespace ingot::cli
