#include "llm/model_memory.h"

#include "base/topology.h"
#include "llm/compute.h"

namespace ingot::llm {
namespace {

// Slots of the persistent batch on a CPU: beyond, a step's products are bound by arithmetic and more sequences at once
// only wait for each other.
constexpr int kDefaultBatchSize = 32;
// On a GPU they are bound by the weights' bytes to some hundred rows.
constexpr int kDefaultBatchSizeOnGpu = 128;

ops::KvFormat KvFormatOf(const LoadOptions& options) {
  if (options.quant_policy == 8) return ops::KvFormat::kI8;
  if (options.quant_policy == 4) return ops::KvFormat::kI4;
  return HasBf16Cache(options) ? ops::KvFormat::kBF16 : ops::KvFormat::kF16;
}

}  // namespace

LoadOptions WithDefaults(LoadOptions options) {
  if (options.num_threads == 0) options.num_threads = GetCpuAllowance().usable_threads;
  if (options.max_batch_size == 0)
    options.max_batch_size = options.device == "cuda" ? kDefaultBatchSizeOnGpu : kDefaultBatchSize;
  return options;
}

engine::ExecutorOptions ExecutorOptionsOf(const LoadOptions& options) {
  return {.max_batch_size = options.max_batch_size,
          .max_prefill_tokens = options.max_prefill_token_num,
          .max_drafts = options.speculative_ngram,
          .block_len = options.cache_block_seq_len,
          .prefix_caching = options.enable_prefix_caching,
          .kv_format = KvFormatOf(options),
          .compute = options.exact ? ops::Compute::kExact : ops::Compute::kFast,
          .profile = options.profile};
}

MemoryNeeds NeedsOf(const models::Model& model, const LoadOptions& options, const ops::Backend& backend) {
  engine::ExecutorOptions executor = ExecutorOptionsOf(options);
  std::vector<CacheGroup> groups;
  for (const models::KvGroup& group : model.kv_groups()) {
    const ops::KvLayout layout = model.KvLayoutFor(backend, group, executor.block_len, executor.kv_format);
    const bool is_state = group.state_bytes > 0;
    groups.push_back({is_state ? kv::kStateWindow : group.window, layout.block_bytes, is_state});
  }
  executor.num_blocks.assign(groups.size(), 1);
  return {.weights = model.weight_bytes(),
          .mapped_weights = model.mapped_weight_bytes(),
          .groups = std::move(groups),
          .kv_tails = engine::Executor::BytesFor(model, executor, backend).tails,
          .max_position = model.spec().max_position,
          .workspace = [&model, &backend, executor](int64_t session_len) {
            engine::ExecutorOptions trial = executor;
            trial.max_context = session_len;
            return engine::Executor::BytesFor(model, trial, backend).workspace;
          }};
}

}  // namespace ingot::llm
