#include "llm/checks.h"

#include <algorithm>

#include "llm/params.h"

namespace ingot::llm {
namespace {

Status CheckInt(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return InvalidArgument("{} {} is outside {}…{}", name, value, low, high);
}

Status CheckTokenMasks(const Request& request) {
  const auto& masks = request.token_masks;
  if (masks.empty()) return {};
  if (std::ssize(masks) != request.n) {
    return InvalidArgument("token_masks has {} entries, and n is {}: each answer has one, null where all may be drawn",
                           masks.size(), request.n);
  }
  for (size_t i = 0; i < masks.size(); ++i) {
    const auto first = std::ranges::find(masks, masks[i]) - masks.begin();
    if (!masks[i] || first == static_cast<std::ptrdiff_t>(i)) continue;
    return InvalidArgument("token_masks {} and {} are one object: each answer advances a mask of its own", first, i);
  }
  return {};
}

}  // namespace

Status CheckLoadOptions(const LoadOptions& options) {
  if (options.model.empty()) return InvalidArgument("no model is named");
  INGOT_RETURN_IF_ERROR(CheckInt("--threads", options.num_threads, 0, 1023));
  INGOT_RETURN_IF_ERROR(CheckInt("--session-len", options.session_len, 0, int64_t{1} << 30));
  INGOT_RETURN_IF_ERROR(CheckInt("--max-batch-size", options.max_batch_size, 0, 4096));
  INGOT_RETURN_IF_ERROR(CheckInt("--max-prefill-token-num", options.max_prefill_token_num, 1, 1 << 20));
  if (!(options.cache_max_entry_count > 0.0 && options.cache_max_entry_count <= 1.0)) {
    return InvalidArgument("--cache-max-entry-count {} is outside 0…1 (0 excluded)", options.cache_max_entry_count);
  }
  if (options.kv_cache_bytes < 0) return InvalidArgument("--kv-cache-memory {} is negative", options.kv_cache_bytes);
  INGOT_RETURN_IF_ERROR(CheckInt("--speculative-ngram", options.speculative_ngram, 0, 4));
  INGOT_RETURN_IF_ERROR(CheckInt("--max-queue", options.max_queue, 1, 1 << 20));
  INGOT_RETURN_IF_ERROR(CheckInt("--text-threads", options.text_threads, 1, 64));
  INGOT_RETURN_IF_ERROR(CheckInt("--cache-block-seq-len", options.cache_block_seq_len, 32, 4096));
  if (options.cache_block_seq_len % 32 != 0) {
    return InvalidArgument("--cache-block-seq-len {} is not a multiple of 32", options.cache_block_seq_len);
  }
  if (options.quant_policy != 0 && options.quant_policy != 4 && options.quant_policy != 8) {
    return InvalidArgument("--quant-policy {}: a KV cache is kept in fp16 (0), int8 (8) or int4 (4)",
                           options.quant_policy);
  }
  if (options.device != "cpu" && options.device != "cuda" && options.device != "auto") {
    return InvalidArgument("--device {} is not one of cpu, cuda, auto", options.device);
  }
  if (options.backend != "auto" && options.backend != "native" && options.backend != "pytorch") {
    return InvalidArgument("--backend {} is not one of auto, native, pytorch", options.backend);
  }
  if (options.device == "cuda" && options.exact) {
    return InvalidArgument("--compute exact is for --device cpu; on CUDA activations have 16 bits");
  }
  if (options.kv_bf16 && options.quant_policy != 0) {
    return InvalidArgument("--dtype bfloat16 is a KV cache of 16 bits, --quant-policy {} one of {}: choose one of them",
                           options.quant_policy, options.quant_policy);
  }
  return {};
}

Status CheckRequest(const Request& request, int64_t vocab_size) {
  const int inputs =
      (request.messages.empty() ? 0 : 1) + (request.prompt ? 1 : 0) + (request.token_ids.empty() ? 0 : 1);
  if (inputs != 1) {
    return InvalidArgument("a request has exactly one of messages, prompt and token_ids, not {}{}", inputs,
                           inputs == 0 ? " (messages must not be empty)" : "");
  }
  for (const Param& param : AllParams()) INGOT_RETURN_IF_ERROR(CheckParam(param, request, {.vocab_size = vocab_size}));
  INGOT_RETURN_IF_ERROR(CheckTokenMasks(request));
  if (request.max_tokens && request.min_tokens > *request.max_tokens) {
    return Error(InvalidArgument("min_tokens {} is above max_tokens {}", request.min_tokens, *request.max_tokens)
                     .value()
                     .Of("min_tokens"));
  }
  return {};
}

Result<int64_t> AnswerLength(const Request& request, int64_t prompt_tokens, int64_t session_len) {
  // The beginning is OpenAI's: clients recognize this error by it.
  const auto too_long = [&](const std::string& why) {
    return Error(TooLong("This model's maximum context length is {} tokens. However, {}.", session_len, why)
                     .value()
                     .Of("prompt"));
  };
  if (prompt_tokens >= session_len) {
    return too_long(
        fmt::format("your prompt has {} tokens, which leaves no room for an answer. Please reduce the length of the "
                    "prompt",
                    prompt_tokens));
  }
  const int64_t room = session_len - prompt_tokens;
  const int64_t most = request.default_max_tokens > 0 ? std::min(room, request.default_max_tokens) : room;
  const int64_t wanted = request.max_tokens.value_or(std::max(most, std::min(room, request.min_tokens)));
  if (wanted > room) {
    return too_long(
        fmt::format("you requested {} tokens in the prompt and {} in the answer. Please reduce the length of the "
                    "prompt or of the answer",
                    prompt_tokens, wanted));
  }
  if (request.min_tokens > wanted) {
    return too_long(fmt::format("min_tokens {} exceeds the {} that a prompt of {} leaves", request.min_tokens, wanted,
                                prompt_tokens));
  }
  return wanted;
}

}  // namespace ingot::llm
