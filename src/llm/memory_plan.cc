#include "llm/memory_plan.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "kv/block_table.h"

namespace ingot::llm {
namespace {

int64_t SaturatingProduct(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

// Blocks the cache may have, by memory alone.
Result<int64_t> AffordableBlocks(const LoadOptions& options, const MemoryNeeds& needs, int64_t left) {
  if (options.kv_cache_bytes > 0) {
    if (options.kv_cache_bytes > left) {
      return ResourceExhausted("kv-cache-memory {} exceeds what weights and workspace leave; --kv-cache-memory {} fits",
                               options.kv_cache_bytes, std::max<int64_t>(left, 0));
    }
    return options.kv_cache_bytes / needs.block_bytes;
  }
  return static_cast<int64_t>(options.cache_max_entry_count * static_cast<double>(std::max<int64_t>(left, 0))) /
         needs.block_bytes;
}

}  // namespace

Result<MemoryPlan> PlanMemory(const LoadOptions& options, const MemoryNeeds& needs, int64_t available) {
  INGOT_CHECK(options.max_batch_size >= 1 && needs.block_bytes >= 1);
  const int block_len = options.cache_block_seq_len;
  const bool fixed = options.session_len > 0;
  int64_t session_len = fixed ? options.session_len : std::max<int64_t>(needs.max_position, 1);
  MemoryPlan plan{.weights = needs.weights, .max_batch_size = options.max_batch_size};
  // A shorter session needs a smaller workspace, so the second round fits when the first one shortened it.
  for (;;) {
    plan.workspace = needs.workspace(session_len);
    INGOT_ASSIGN_OR_RETURN(int64_t blocks, AffordableBlocks(options, needs, available - plan.workspace));
    blocks = std::min<int64_t>(blocks, std::numeric_limits<int32_t>::max() / block_len);  // slots are int32
    const int64_t session_blocks = kv::BlocksFor(session_len, block_len);
    if (blocks < 1) {
      return ResourceExhausted(
          "no room for a KV cache: weights take {}, workspace {}, and {} are available beside the weights; a block of "
          "{} tokens takes {}. A smaller --max-prefill-token-num or --max-batch-size needs less workspace",
          FormatBytes(plan.weights), FormatBytes(plan.workspace), FormatBytes(available), block_len,
          FormatBytes(needs.block_bytes));
    }
    if (blocks < session_blocks) {
      const int64_t fits = blocks * block_len;
      if (fixed) {
        return ResourceExhausted("session-len {} needs {} of KV cache, and {} are left for it; --session-len {} fits",
                                 session_len, FormatBytes(SaturatingProduct(session_blocks, needs.block_bytes)),
                                 FormatBytes(blocks * needs.block_bytes), fits);
      }
      session_len = fits;
      continue;
    }
    if (options.kv_cache_bytes == 0)
      blocks = std::min(blocks, SaturatingProduct(session_blocks, options.max_batch_size));
    plan.num_blocks = static_cast<int32_t>(blocks);
    plan.kv = blocks * needs.block_bytes;
    plan.session_len = session_len;
    return plan;
  }
}

std::string FormatBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024.0 && unit + 1 < std::size(kUnits)) value /= 1024.0, ++unit;
  if (unit == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.2f} {}", value, kUnits[unit]);
}

std::string FormatLedger(const MemoryPlan& plan, const LoadOptions& options, const MemoryAllowance& memory) {
  std::string text = fmt::format("memory      {} available of {}{}\n", FormatBytes(memory.available_bytes),
                                 FormatBytes(memory.total_bytes), memory.cgroup_limit ? " (cgroup limit)" : "");
  text += fmt::format("weights     {}\n", FormatBytes(plan.weights));
  text += fmt::format("KV cache    {}: {} blocks of {} tokens = {} tokens; reserved, touched as it fills\n",
                      FormatBytes(plan.kv), plan.num_blocks, options.cache_block_seq_len,
                      int64_t{plan.num_blocks} * options.cache_block_seq_len);
  text += fmt::format("workspace   {}\n", FormatBytes(plan.workspace));
  text += fmt::format("sessions    {} at once of up to {} tokens\n", plan.max_batch_size, plan.session_len);
  return text;
}

}  // namespace ingot::llm
