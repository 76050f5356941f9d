#include "llm/memory_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/memory_limit.h"
#include "kv/cache.h"
#include "llm/compute.h"
#include "text/bytes.h"

namespace ingot::llm {
namespace {

int64_t SaturatingProduct(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

// How many blocks each group has when the cache is to hold `blocks` blocks of tokens.
class CacheShape {
 public:
  CacheShape(const LoadOptions& options, const MemoryNeeds& needs, int64_t session_len)
      : options_(options), needs_(needs), session_len_(session_len) {
    for (const CacheGroup& group : needs.groups) sees_all_ |= group.window == 0;
  }

  int64_t BlocksOf(const CacheGroup& group, int64_t blocks) const {
    if (group.window == 0 || !(sees_all_ || group.is_state)) return blocks;
    return std::min(blocks, 2 * options_.max_batch_size * MostHeld(group));
  }
  int64_t Bytes(int64_t blocks) const {
    int64_t bytes = 0;
    for (const CacheGroup& group : needs_.groups) {
      if (__builtin_add_overflow(bytes, SaturatingProduct(BlocksOf(group, blocks), group.block_bytes), &bytes)) {
        return std::numeric_limits<int64_t>::max();
      }
    }
    return bytes;
  }
  // The most blocks that fit into so many bytes.
  int64_t Fitting(int64_t bytes) const {
    int64_t low = 0, high = std::numeric_limits<int32_t>::max() / options_.cache_block_seq_len;  // slots are int32
    while (low < high) {
      const int64_t middle = high - (high - low) / 2;
      Bytes(middle) <= bytes ? low = middle : high = middle - 1;
    }
    return low;
  }
  // So many sessions of full length does a cache of these blocks hold.
  int64_t SessionsIn(const std::vector<int32_t>& num_blocks) const {
    int64_t least = std::numeric_limits<int64_t>::max();
    for (size_t g = 0; g < num_blocks.size(); ++g) least = std::min(least, num_blocks[g] / MostHeld(needs_.groups[g]));
    return least;
  }
  // For one session of full length.
  int64_t OfSession() const {
    int64_t most = 1;
    for (const CacheGroup& group : needs_.groups) most = std::max(most, MostHeld(group));
    return most;
  }

 private:
  int64_t MostHeld(const CacheGroup& group) const {
    return kv::MostBlocksHeld(group.window,
                              {session_len_, options_.max_prefill_token_num, options_.cache_block_seq_len});
  }
  const LoadOptions& options_;
  const MemoryNeeds& needs_;
  const int64_t session_len_;
  bool sees_all_ = false;  // whether a group does
};

// Bytes that the cache may have.
Result<int64_t> CacheBytes(const LoadOptions& options, int64_t left) {
  if (options.kv_cache_bytes == 0) {
    return static_cast<int64_t>(options.cache_max_entry_count * static_cast<double>(std::max<int64_t>(left, 0)));
  }
  if (options.kv_cache_bytes <= left) return options.kv_cache_bytes;
  const std::string fits = left >= 1024 ? fmt::format("--kv-cache-memory {} fits", SizeAtMost(left)) : "none fits";
  return ResourceExhausted("--kv-cache-memory {} exceeds what weights and workspace leave; {}",
                           SizeAtLeast(options.kv_cache_bytes), fits);
}

Status NoRoom(const MemoryPlan& plan, const LoadOptions& options, const CacheShape& shape, int64_t available) {
  if (options.kv_cache_bytes > 0) {
    return ResourceExhausted(
        "--kv-cache-memory {} is less than a block of {} tokens takes; --kv-cache-memory {} is the "
        "least, and holds no more than that",
        SizeAtLeast(options.kv_cache_bytes), options.cache_block_seq_len, SizeAtLeast(shape.Bytes(1)));
  }
  return ResourceExhausted(
      "no room for a KV cache: weights take {}, workspace {}, and {} are available next to the weights; a block of "
      "{} tokens takes {}. A smaller --max-prefill-token-num or --max-batch-size needs less workspace",
      FormatBytes(plan.weights), FormatBytes(plan.workspace + plan.kv_tails), FormatBytes(available),
      options.cache_block_seq_len, FormatBytes(shape.Bytes(1)));
}

// `left`: bytes for the cache next to a workspace for whole contexts; `needed`: of the cache of one.
std::string ShortenedWarning(const LoadOptions& options, int64_t whole, int64_t session_len, int64_t left,
                             int64_t needed) {
  std::string could;
  if (needed <= left && options.kv_cache_bytes > 0) {
    could = fmt::format("--kv-cache-memory {}", SizeAtLeast(needed));
  } else if (needed <= left) {
    const double share = std::ceil(100.0 * static_cast<double>(needed) / static_cast<double>(left)) / 100.0;
    could = fmt::format("--cache-max-entry-count {:.2f}", share);
  } else if (options.quant_policy != 4) {
    could = fmt::format("--quant-policy {}", options.quant_policy == 0 ? "8 or 4" : "4");
  }
  return fmt::format(
      "the KV cache holds a context of {} tokens, and the model's is {}: longer requests are refused. {}"
      "--session-len {} says that it is meant to be so",
      session_len, whole, could.empty() ? "" : could + (needed <= left ? " holds it all; " : " holds more; "),
      session_len);
}

}  // namespace

Result<MemoryPlan> PlanMemory(const LoadOptions& options, const MemoryNeeds& needs, int64_t available) {
  INGOT_CHECK(options.max_batch_size >= 1 && !needs.groups.empty());
  const bool fixed = options.session_len > 0;
  int64_t session_len = fixed ? options.session_len : std::max<int64_t>(needs.max_position, 1);
  MemoryPlan plan{.weights = needs.weights,
                  .mapped_weights = needs.mapped_weights,
                  .kv_tails = needs.kv_tails,
                  .groups = needs.groups,
                  .max_batch_size = options.max_batch_size};
  // A shorter session needs a smaller workspace, so the second round fits when the first one shortened it.
  for (;;) {
    plan.workspace = needs.workspace(session_len);
    const CacheShape shape(options, needs, session_len);
    INGOT_ASSIGN_OR_RETURN(const int64_t bytes, CacheBytes(options, available - plan.workspace - plan.kv_tails));
    int64_t blocks = shape.Fitting(bytes);
    if (blocks < 1) return Error(NoRoom(plan, options, shape, available));
    const int64_t session_blocks = shape.OfSession();
    if (blocks < session_blocks) {
      const int64_t fits = blocks * options.cache_block_seq_len;
      if (fixed) {
        return ResourceExhausted("--session-len {} needs {} of KV cache, and {} are left for it; --session-len {} fits",
                                 session_len, FormatBytes(shape.Bytes(session_blocks)),
                                 FormatBytes(shape.Bytes(blocks)), fits);
      }
      if (plan.shortened.empty()) {
        plan.shortened = ShortenedWarning(options, session_len, fits, available - plan.workspace - plan.kv_tails,
                                          shape.Bytes(session_blocks));
      }
      session_len = fits;
      continue;
    }
    // A GPU's memory is there for this alone: what the slots cannot use serves later hits.
    if (options.kv_cache_bytes == 0 && options.device != "cuda")
      blocks = std::min(blocks, SaturatingProduct(session_blocks, options.max_batch_size));
    for (const CacheGroup& group : needs.groups) {
      plan.num_blocks.push_back(static_cast<int32_t>(shape.BlocksOf(group, blocks)));
    }
    plan.kv = shape.Bytes(blocks);
    plan.session_len = session_len;
    plan.full_sessions = shape.SessionsIn(plan.num_blocks);
    return plan;
  }
}

const char* KvFormatName(const LoadOptions& options) {
  if (options.backend == "pytorch" && options.pytorch_dtype == "float32") return "fp32";
  if (options.backend == "pytorch") return options.pytorch_dtype == "bfloat16" ? "bf16" : "fp16";
  if (options.quant_policy == 8) return "int8";
  if (options.quant_policy == 4) return "int4";
  return HasBf16Cache(options) ? "bf16" : "fp16";
}

std::string FormatLedger(const MemoryPlan& plan, const LoadOptions& options, const MemoryAllowance& memory) {
  std::string text = fmt::format("memory      {} available of {}{}\n", FormatBytes(memory.available_bytes),
                                 FormatBytes(memory.total_bytes),
                                 MemoryLeftByLimits()  ? " (with a limit by ulimit)"
                                 : memory.cgroup_limit ? " (cgroup limit)"
                                                       : "");
  text += fmt::format("weights     {}{}\n", FormatBytes(plan.weights),
                      plan.mapped_weights > 0 ? ", mapped from the weights cache: processes share them" : "");
  int64_t token_bytes = 0;
  for (const CacheGroup& group : plan.groups) {
    if (!group.is_state) token_bytes += group.block_bytes / options.cache_block_seq_len;
  }
  text += fmt::format("KV cache    {} in {}, {} bytes a token; reserved, touched as it fills\n", FormatBytes(plan.kv),
                      KvFormatName(options), token_bytes);
  // As measured for docs/performance.md.
  if (options.quant_policy == 8) text += "            int8 costs about 0.05 % of perplexity against fp16\n";
  if (options.quant_policy == 4)
    text +=
        "            int4 costs about 0.5 % of perplexity against fp16; --quant-policy 4 of LMDeploy 0.2 was int8: 8 "
        "here\n";
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    const int64_t blocks = plan.num_blocks[g];
    if (plan.groups[g].is_state) {
      text += fmt::format("  states    {} of {}, one after each block of {} tokens, {}\n", blocks,
                          FormatBytes(plan.groups[g].block_bytes), options.cache_block_seq_len,
                          FormatBytes(blocks * plan.groups[g].block_bytes));
      continue;
    }
    text += fmt::format("  {:<9} {} block{} of {} tokens = {} tokens, {}\n",
                        plan.groups[g].window == 0 ? "whole" : fmt::format("last {}", plan.groups[g].window), blocks,
                        blocks == 1 ? "" : "s", options.cache_block_seq_len, blocks * options.cache_block_seq_len,
                        FormatBytes(blocks * plan.groups[g].block_bytes));
  }
  if (plan.kv_tails > 0) {
    text += fmt::format("KV tails    {}: each session's last 1 to 32 tokens, in fp16\n", FormatBytes(plan.kv_tails));
  }
  text += fmt::format("workspace   {}\n", FormatBytes(plan.workspace));
  if (plan.full_sessions >= plan.max_batch_size) {
    text += fmt::format("sessions    {} at once of up to {} tokens\n", plan.max_batch_size, plan.session_len);
  } else {
    text += fmt::format(
        "sessions    {} at once, each of up to {} tokens while the cache has room: it holds {} of that "
        "length\n",
        plan.max_batch_size, plan.session_len, plan.full_sessions);
  }
  return text;
}

}  // namespace ingot::llm
