#include "foreign_flags.h"

#include <fmt/format.h>

#include <algorithm>

#include "build_info.h"

namespace ingot::cli {
namespace {

struct Foreign {
  const char* theirs;
  const char* ours;                 // the flag here; null: there is none
  const char* remark;               // what to know of it, or why there is none
  const char* in_effect = nullptr;  // without a flag of ours: the value that is so anyway, and taken
};

constexpr const char* kCpuOnly = INGOT_COMPUTES_ON ", and layers are not split between devices";
constexpr const char* kOneProcess = "one process computes, on one machine";
constexpr const char* kNoGraphs = "there are no graphs to leave out";
constexpr const char* kNoAdapters = "LoRA adapters are not supported";
constexpr const char* kNoTools = "tools are not supported";
constexpr const char* kNoImages = "images are not supported";
constexpr const char* kNothingIsFetched = "nothing is downloaded; HF_HOME names the cache that models are read from";
constexpr const char* kModelIsArgument = "the model is an argument without a flag, after the command";
constexpr const char* kFormatIsRead = "how the weights are stored is read from the checkpoint";
constexpr const char* kTokenizerIsIts = "the tokenizer is the checkpoint's own";
constexpr const char* kConfigIsIts = "a checkpoint is taken as its config.json says; change it there";
constexpr const char* kNoSpeculation = "there is no speculative decoding";
constexpr const char* kNoGuides = "answers are not held to a schema or grammar";
constexpr const char* kNoPooling = "models complete text here; there are no embeddings, rankings or classes";
constexpr const char* kNoOffload = "weights and cache stay in the memory of one process; see --kv-cache-memory";
constexpr const char* kNoTransfer = "a KV cache stays in its process";
constexpr const char* kOneWayToSchedule = "there is one way to schedule steps, and nothing to choose";
constexpr const char* kChunksAlways = "prefill always comes in chunks; --max-prefill-token-num is their size";
constexpr const char* kRevisionInName = "it is part of the model's name: Org/Name@REVISION";
constexpr const char* kNoPlugins = "no code of others is loaded";
constexpr const char* kMetricsAlways = "/metrics is always there; where the server asks for keys, it asks for one too";
constexpr const char* kLogIsLean = "the log has nothing of what is asked and answered";
constexpr const char* kHeadersAreBounded = "a request's headers have a fixed bound; of its body, see --max-body-size";
constexpr const char* kNoTraces = "no traces are sent; /metrics and --flight-recorder tell what happened";
constexpr const char* kNoEncoder = "there are no encoders of images, sound or video";
constexpr const char* kNoBlockDiffusion = "models that fill blocks by diffusion are not supported";

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
    {"--tokenizer", nullptr, kTokenizerIsIts},
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
    {"--allowed-origins", "--allow-origins", ""},
    {"--allowed-methods", "--allow-methods", ""},
    {"--allowed-headers", "--allow-headers", ""},
    {"--kv-cache-memory-bytes", "--kv-cache-memory", ""},
    {"--enable-force-include-usage", "--always-include-usage", ""},
    {"--max-num-partial-prefills", "--max-prefill-token-num", ", which all prompts of a step share"},
    {"--max-long-partial-prefills", "--max-prefill-token-num", ", which all prompts of a step share"},
    {"--long-prefill-token-threshold", "--max-prefill-token-num", ", which all prompts of a step share"},
    {"--num-gpu-blocks-override", "--kv-cache-memory", " SIZE"},
    {"--disable-uvicorn-access-log", "--log-level", " warning: then there is no line a request"},
    {"--disable-log-requests", "--log-level", " warning: then there is no line a request"},
    {"--enable-log-requests", nullptr, kLogIsLean},
    {"--enable-log-outputs", nullptr, kLogIsLean},
    {"--log-error-stack", nullptr, kLogIsLean},
    {"--disable-log-stats", nullptr, kMetricsAlways},
    {"--show-hidden-metrics-for-version", nullptr, kMetricsAlways},
    {"--enable-server-load-tracking", nullptr, kMetricsAlways},
    {"--kv-cache-metrics", nullptr, kMetricsAlways},
    {"--log-config-file", nullptr, "see --log-level and --log-format"},
    {"--aggregate-engine-logging", nullptr, "see --log-level and --log-format"},
    {"--root-path", nullptr, "let the proxy take the prefix off before it passes a request on"},
    {"--middleware", nullptr, kNoPlugins},
    {"--tool-server", nullptr, kNoPlugins},
    {"--logits-processors", nullptr, kNoPlugins},
    {"--logits-processor-pattern", nullptr, kNoPlugins},
    {"--io-processor-plugin", nullptr, kNoPlugins},
    {"--worker-cls", nullptr, kNoPlugins},
    {"--worker-extension-cls", nullptr, kNoPlugins},
    {"--scheduler-cls", nullptr, kNoPlugins},
    {"--tool-parser-plugin", nullptr, kNoTools},
    {"--exclude-tools-when-tool-choice-none", nullptr, kNoTools},
    {"--reasoning-parser-plugin", nullptr, "an answer's text comes whole, with what the model thinks before it"},
    {"--lora-modules", nullptr, kNoAdapters},
    {"--max-loras", nullptr, kNoAdapters},
    {"--max-lora-rank", nullptr, kNoAdapters},
    {"--max-cpu-loras", nullptr, kNoAdapters},
    {"--lora-dtype", nullptr, kNoAdapters},
    {"--lora-extra-vocab-size", nullptr, kNoAdapters},
    {"--fully-sharded-loras", nullptr, kNoAdapters},
    {"--enable-lora-bias", nullptr, kNoAdapters},
    {"--default-mm-loras", nullptr, kNoAdapters},
    {"--prompt-adapters", nullptr, kNoAdapters},
    {"--enable-prompt-adapter", nullptr, kNoAdapters},
    {"--max-prompt-adapters", nullptr, kNoAdapters},
    {"--chat-template-content-format", nullptr, "a template gets the content as it is in the request"},
    {"--trust-request-chat-template", nullptr, "the chat template is the server's; a request brings none"},
    {"--response-role", nullptr, "answers are the assistant's"},
    {"--return-tokens-as-token-ids", nullptr, "a request says what it wants of log probabilities"},
    {"--max-logprobs", nullptr, "a request says what it wants of log probabilities"},
    {"--logprobs-mode", nullptr, "a request says what it wants of log probabilities"},
    {"--enable-ssl-refresh", nullptr, "SIGHUP reads the certificate again"},
    {"--disable-frontend-multiprocessing", nullptr, kOneProcess},
    {"--api-server-count", nullptr, kOneProcess},
    {"--headless", nullptr, kOneProcess},
    {"--tokens-only", nullptr, kOneProcess},
    {"--enable-request-id-headers", nullptr, "every answer has its X-Request-Id"},
    {"--enable-prompt-tokens-details", nullptr, "every usage has prompt_tokens_details"},
    {"--enable-tokenizer-info-endpoint", nullptr, "/tokenize and /detokenize are always there"},
    {"--h11-max-incomplete-event-size", nullptr, kHeadersAreBounded},
    {"--h11-max-header-count", nullptr, kHeadersAreBounded},
    {"--uds", nullptr, "a server listens on --server-name and --server-port"},
    {"--fd", nullptr, "a server listens on --server-name and --server-port"},
    {"--task", nullptr, kNoPooling},
    {"--runner", nullptr, kNoPooling},
    {"--convert", nullptr, kNoPooling},
    {"--pooler-config", nullptr, kNoPooling},
    {"--override-pooler-config", nullptr, kNoPooling},
    {"--tokenizer-mode", nullptr, kTokenizerIsIts},
    {"--tokenizer-revision", nullptr, kTokenizerIsIts},
    {"--skip-tokenizer-init", nullptr, kTokenizerIsIts},
    {"--seed", "--seed", ""},
    {"--hf-config-path", nullptr, kConfigIsIts},
    {"--config-format", nullptr, kConfigIsIts},
    {"--rope-scaling", nullptr, kConfigIsIts},
    {"--rope-theta", nullptr, kConfigIsIts},
    {"--override-neuron-config", nullptr, kConfigIsIts},
    {"--override-attention-dtype", nullptr, kConfigIsIts},
    {"--model-impl", nullptr, kConfigIsIts},
    {"--allowed-local-media-path", nullptr, kNoEncoder},
    {"--limit-mm-per-prompt", nullptr, kNoEncoder},
    {"--media-io-kwargs", nullptr, kNoEncoder},
    {"--mm-processor-kwargs", nullptr, kNoEncoder},
    {"--mm-processor-cache-gb", nullptr, kNoEncoder},
    {"--mm-processor-cache-type", nullptr, kNoEncoder},
    {"--disable-mm-preprocessor-cache", nullptr, kNoEncoder},
    {"--mm-encoder-tp-mode", nullptr, kNoEncoder},
    {"--mm-encoder-attn-backend", nullptr, kNoEncoder},
    {"--interleave-mm-strings", nullptr, kNoEncoder},
    {"--skip-mm-profiling", nullptr, kNoEncoder},
    {"--video-pruning-rate", nullptr, kNoEncoder},
    {"--enable-multimodal-encoder-data-parallel", nullptr, kNoEncoder},
    {"--disable-chunked-mm-input", nullptr, kNoEncoder},
    {"--code-revision", nullptr, "Ingot runs no code from a checkpoint"},
    {"--max-seq-len-to-capture", nullptr, kNoGraphs},
    {"--cuda-graph-sizes", nullptr, kNoGraphs},
    {"--compilation-config", nullptr, kNoGraphs},
    {"-O", nullptr, kNoGraphs},
    {"--disable-sliding-window", nullptr, kConfigIsIts},
    {"--disable-cascade-attn", nullptr, kConfigIsIts},
    {"--disable-hybrid-kv-cache-manager", nullptr, kConfigIsIts},
    {"--enable-prompt-embeds", nullptr, "prompts are messages, text or token ids"},
    {"--disable-async-output-proc", nullptr, kOneWayToSchedule},
    {"--async-scheduling", nullptr, kOneWayToSchedule},
    {"--num-scheduler-steps", nullptr, kOneWayToSchedule},
    {"--multi-step-stream-outputs", nullptr, kOneWayToSchedule},
    {"--scheduler-delay-factor", nullptr, kOneWayToSchedule},
    {"--preemption-mode", nullptr, kOneWayToSchedule},
    {"--num-lookahead-slots", nullptr, kOneWayToSchedule},
    {"--stream-interval", nullptr, kOneWayToSchedule},
    {"--enable-dbo", nullptr, kOneWayToSchedule},
    {"--scheduling-policy", nullptr, "requests come in the order of their priority, which each may say"},
    {"--enable-chunked-prefill", nullptr, kChunksAlways},
    {"--no-enable-chunked-prefill", nullptr, kChunksAlways},
    {"--hf-token", nullptr, kNothingIsFetched},
    {"--use-tqdm-on-load", nullptr, kNothingIsFetched},
    {"--ignore-patterns", nullptr, kNothingIsFetched},
    {"--safetensors-load-strategy", nullptr, kFormatIsRead},
    {"--model-loader-extra-config", nullptr, kFormatIsRead},
    {"--qlora-adapter-name-or-path", nullptr, kFormatIsRead},
    {"--pt-load-map-location", nullptr, kFormatIsRead},
    {"--enable-sleep-mode", nullptr, "a server keeps its model until it ends"},
    {"--guided-decoding-backend", nullptr, kNoGuides},
    {"--guided-decoding-disable-fallback", nullptr, kNoGuides},
    {"--guided-decoding-disable-any-whitespace", nullptr, kNoGuides},
    {"--guided-decoding-disable-additional-properties", nullptr, kNoGuides},
    {"--structured-outputs-config", nullptr, kNoGuides},
    {"--distributed-executor-backend", nullptr, kOneProcess},
    {"--master-addr", nullptr, kOneProcess},
    {"--master-port", nullptr, kOneProcess},
    {"--data-parallel-address", nullptr, kOneProcess},
    {"--data-parallel-rpc-port", nullptr, kOneProcess},
    {"--data-parallel-backend", nullptr, kOneProcess},
    {"--max-parallel-loading-workers", nullptr, kOneProcess},
    {"--ray-workers-use-nsight", nullptr, kOneProcess},
    {"-pp", nullptr, kCpuOnly},
    {"--decode-context-parallel-size", nullptr, kCpuOnly},
    {"--data-parallel-rank", nullptr, kCpuOnly},
    {"--data-parallel-start-rank", nullptr, kCpuOnly},
    {"--data-parallel-size-local", nullptr, kCpuOnly},
    {"--data-parallel-hybrid-lb", nullptr, kCpuOnly},
    {"--data-parallel-external-lb", nullptr, kCpuOnly},
    {"--enable-expert-parallel", nullptr, kCpuOnly},
    {"--enable-eplb", nullptr, kCpuOnly},
    {"--eplb-config", nullptr, kCpuOnly},
    {"--num-redundant-experts", nullptr, kCpuOnly},
    {"--eplb-window-size", nullptr, kCpuOnly},
    {"--eplb-step-interval", nullptr, kCpuOnly},
    {"--expert-placement-strategy", nullptr, kCpuOnly},
    {"--all2all-backend", nullptr, kCpuOnly},
    {"--disable-custom-all-reduce", nullptr, kCpuOnly},
    {"-tp", "--tp", ""},
    {"-q", nullptr, kFormatIsRead},
    {"--cpu-offload-gb", nullptr, kNoOffload},
    {"--kv-offloading-size", nullptr, kNoOffload},
    {"--kv-offloading-backend", nullptr, kNoOffload},
    {"--prefix-caching-hash-algo", nullptr, "a prefix is told by its tokens themselves; there is no hash to choose"},
    {"--calculate-kv-scales", nullptr, "scales of an int8 or int4 cache are always taken from what it holds"},
    {"--kv-sharing-fast-prefill", nullptr, kConfigIsIts},
    {"--mamba-cache-dtype", nullptr, kConfigIsIts},
    {"--mamba-ssm-cache-dtype", nullptr, kConfigIsIts},
    {"--mamba-block-size", nullptr, kConfigIsIts},
    {"--kv-transfer-config", nullptr, kNoTransfer},
    {"--kv-events-config", nullptr, kNoTransfer},
    {"--speculative-config", nullptr, kNoSpeculation},
    {"--speculative-model", nullptr, kNoSpeculation},
    {"--num-speculative-tokens", nullptr, kNoSpeculation},
    {"--otlp-traces-endpoint", nullptr, kNoTraces},
    {"--collect-detailed-traces", nullptr, kNoTraces},
    {"--additional-config", nullptr, "each setting has its flag; --config names a file of them"},
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
     "sampling defaults are those of the checkpoint's generation_config.json; --override-generation-config has others",
     "auto"},
    {"--tool-call-parser", nullptr, kNoTools},
    {"--reasoning-parser", nullptr, "an answer's text comes whole, with what the model thinks before it"},
    {"--proxy-url", nullptr, "a server does not announce itself; give its address to the proxy"},
    {"--adapters", nullptr, kNoAdapters},
    {"--revision", nullptr, kRevisionInName},
    {"--download-dir", nullptr, kNothingIsFetched},
    {"--async", nullptr, kOneWayToSchedule},
    {"--eager-mode", nullptr, kNoGraphs},
    {"--allowed-media-domains", nullptr, kNoImages},
    {"--vision-max-batch-size", nullptr, kNoImages},
    {"--max-concurrent-requests", "--max-batch-size", ", and --max-queue is how many more may wait"},
    {"--max-log-len", nullptr, kLogIsLean},
    {"--disable-metrics", nullptr, kMetricsAlways},
    {"--hf-overrides", nullptr, kConfigIsIts},
    {"--enable-abort-handling", nullptr, "to abort a request, close its connection"},
    {"--rope-scaling-factor", nullptr, kConfigIsIts},
    {"--num-tokens-per-iter", "--max-prefill-token-num", ""},
    {"--disable-vision-encoder", nullptr, kNoEncoder},
    {"--language-model-only", nullptr, kNoEncoder},
    {"--dllm-block-length", nullptr, kNoBlockDiffusion},
    {"--dllm-unmasking-strategy", nullptr, kNoBlockDiffusion},
    {"--dllm-denoising-steps", nullptr, kNoBlockDiffusion},
    {"--dllm-confidence-threshold", nullptr, kNoBlockDiffusion},
    {"--enable-metrics", nullptr, kMetricsAlways},
    {"--role", nullptr, kNoTransfer},
    {"--migration-backend", nullptr, kNoTransfer},
    {"--enable-microbatch", nullptr, kOneWayToSchedule},
    {"--speculative-algorithm", nullptr, kNoSpeculation},
    {"--speculative-draft-model", nullptr, kNoSpeculation},
    {"--speculative-num-draft-tokens", nullptr, kNoSpeculation},
    {"--dp-rank", nullptr, kCpuOnly},
    {"--ngpus-per-node", nullptr, kCpuOnly},
    {"--attn-tp-size", nullptr, kCpuOnly},
    {"--mlp-tp-size", nullptr, kCpuOnly},
    {"--attn-cp-size", nullptr, kCpuOnly},
    {"--enable-return-routed-experts", nullptr, "which experts a token chose is not told"},
    {"--instance-num", "--max-batch-size", ""},
    {"--model-source", nullptr, kNothingIsFetched},
    {"--qos-config-path", nullptr, "a request has its priority; there are no classes of users"},
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
