// Runs planned steps on the model: owns the KV cache's bytes, the scratch memory and the buffers of the step's batch.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "kv/block_pool.h"
#include "models/model.h"
#include "sampling/sampler.h"

namespace ingot::engine {

struct ExecutorOptions {
  int max_batch_size = 1;          // slots
  int64_t max_prefill_tokens = 1;  // of a step, beside the decodes
  int64_t max_context = 1;         // longest sequence
  int block_len = 64;
  int32_t num_blocks = 1;
  ops::KvFormat kv_format = ops::KvFormat::kF16;
  ops::Compute compute = ops::Compute::kFast;
};

struct ExecutorBytes {
  int64_t kv = 0, workspace = 0;
};

struct StepResult {
  sampling::Outcome outcome = sampling::Outcome::kOk;
  sampling::Sampled token;
};

struct ScoreOptions {
  int64_t chunk = 0;                      // tokens of a forward pass; 0: as many as suit
  int64_t first_position = 0;             // logits before it are not wanted
  const models::LayerTap* tap = nullptr;  // sees every chunk's hidden states
};
using LogitsFn = FunctionRef<void(int64_t position, const float* logits)>;  // logits: [vocab_size]

// Thread safety: none; the engine thread owns it. Run allocates nothing.
class Executor {
 public:
  // What Create would take.
  static ExecutorBytes BytesFor(const models::Model& model, const ExecutorOptions& options, ThreadPool& pool);
  // `model` and `pool` outlive it.
  static Result<std::unique_ptr<Executor>> Create(const models::Model& model, const ExecutorOptions& options,
                                                  ThreadPool& pool);

  // One forward pass over `work`, whose blocks have been allocated, then a draw for each with `sample`, in the same
  // order. slots: [max_batch_size], null where free.   results: as many as `work` has with `sample`.
  void Run(std::span<const Work> work, std::span<Sequence* const> slots, std::span<StepResult> results);

  // The raw logits of one sequence's positions, ascending. Takes blocks from `blocks` for as long as it runs.
  // kResourceExhausted when they do not suffice.
  Status Score(std::span<const int32_t> token_ids, const ScoreOptions& options, kv::BlockPool& blocks,
               LogitsFn on_logits);

  const ExecutorOptions& options() const { return options_; }
  const models::Model& model() const { return model_; }

 private:
  Executor(const models::Model& model, const ExecutorOptions& options, ThreadPool& pool, ops::Scratch scratch);
  void BeginBatch();
  void AppendTokens(std::span<const int32_t> token_ids, int64_t begin, const kv::BlockTable& blocks);
  void EndBatchAndForward(float* logits, const models::LayerTap* tap);

  const models::Model& model_;
  ExecutorOptions options_;
  ThreadPool& pool_;
  ops::Scratch scratch_;
  Buffer kv_;
  Tensor logits_;  // [max_batch_size, vocab_size]
  int64_t block_table_stride_;
  // The batch under way; capacity for the largest step.
  std::vector<int32_t> token_ids_, positions_, cu_seqlens_, block_tables_, token_slots_, logits_rows_;
  int64_t max_context_ = 0;
  std::vector<sampling::Workspace> workspaces_;  // [num_threads]
  std::vector<Sequence*> drawn_;                 // whose logits the step has
};

}  // namespace ingot::engine
