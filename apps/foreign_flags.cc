#include "foreign_flags.h"

#include <fmt/format.h>

#include <algorithm>

namespace ingot::cli {
namespace {

struct Foreign {
  const char* theirs;
  const char* answer;
};

constexpr Foreign kForeign[] = {
    // vLLM
    {"--max-model-len", "here it is --session-len"},
    {"--max-num-seqs", "here it is --max-batch-size"},
    {"--max-num-batched-tokens", "here it is --max-prefill-token-num"},
    {"--gpu-memory-utilization",
     "here it is --cache-max-entry-count, a fraction of what is free after the weights, or --kv-cache-memory SIZE"},
    {"--block-size", "here it is --cache-block-seq-len"},
    {"--host", "here it is --server-name"},
    {"--port", "here it is --server-port"},
    {"--served-model-name", "here it is --model-name"},
    {"--tensor-parallel-size", "on one machine without GPUs there is nothing to split; --threads sets the cores"},
    {"--dtype", "weights keep the checkpoint's type; --compute exact computes in fp32"},
    {"--quantization", "the format is read from the checkpoint"},
    {"--swap-space", "there is no swapping; see --kv-cache-memory"},
    {"--trust-remote-code", "Ingot runs no code from a checkpoint, so it needs no trust"},
    {"--tokenizer", "the tokenizer is the checkpoint's own"},
    {"--uvicorn-log-level", "here it is --log-level"},
    // llama.cpp
    {"-c", "here it is --session-len"},
    {"--ctx-size", "here it is --session-len"},
    {"-n", "here it is --max-tokens"},
    {"--n-predict", "here it is --max-tokens"},
    {"-t", "here it is --threads"},
    {"-m", "the model is an argument without a flag: ingot generate MODEL"},
    {"--model", "the model is an argument without a flag: ingot generate MODEL"},
    {"-ngl", "layers are not split between devices; this build computes on the CPU"},
    {"--n-gpu-layers", "layers are not split between devices; this build computes on the CPU"},
    {"--parallel", "here it is --max-batch-size"},
    {"-np", "here it is --max-batch-size"},
    {"--batch-size", "here it is --max-prefill-token-num"},
    {"--ubatch-size", "here it is --max-prefill-token-num"},
    {"--temp", "here it is --temperature"},
    {"--repeat-penalty", "here it is --repetition-penalty"},
    {"--jinja", "templates are always rendered as Jinja"},
    {"--system-prompt", "here it is --meta-instruction"},
    {"-sys", "here it is --meta-instruction"},
    {"--chat-template-file", "here it is --chat-template FILE"},
    {"--no-mmap", "files are always mapped, and let go of once the weights are packed"},
    {"--mlock", "weights are packed into memory of our own at load"},
    {"--alias", "here it is --model-name"},
    {"--threads-http", "one thread does all I/O; it needs no number"},
    // LMDeploy
    {"--max-new-tokens", "here it is --max-tokens"},
    {"--request-output-len", "here it is --max-tokens"},
    {"--device", "this build computes on the CPU"},
    {"--max-prefill-iters", "here it is --max-prefill-token-num"},
    {"--random-seed", "here it is --seed"},
    {"--model-path", "the model is an argument without a flag: ingot serve api_server MODEL"},
};

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

std::string ExplainUnknownFlag(const std::string& flag, const std::vector<std::string>& known) {
  for (const Foreign& foreign : kForeign) {
    if (flag == foreign.theirs) return fmt::format("{}: {}", flag, foreign.answer);
  }
  const std::string nearest = NearestOf(flag, known);
  return nearest.empty() ? fmt::format("there is no flag {}", flag)
                         : fmt::format("there is no flag {}; did you mean {}?", flag, nearest);
}

}  // namespace ingot::cli
