// Runs planned steps on the model: owns the KV cache's bytes, the scratch memory and the buffers of the step's batch.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "kv/cache.h"
#include "models/model.h"
#include "sampling/sampler.h"

namespace ingot::engine {

struct ExecutorOptions {
  int max_batch_size = 1;          // slots
  int64_t max_prefill_tokens = 1;  // of a step, beside the decodes
  int64_t max_context = 1;         // longest sequence
  int block_len = 64;
  std::vector<int32_t> num_blocks = {1};  // of each group of layers (Model::kv_groups)
  bool prefix_caching = true;             // what is computed for one request serves others
  ops::KvFormat kv_format = ops::KvFormat::kF16;
  ops::Compute compute = ops::Compute::kFast;
};

struct ExecutorBytes {
  int64_t kv = 0;
  int64_t tails = 0;  // of an int4 cache: the last tokens of every slot's sequence, in fp16
  int64_t workspace = 0;
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

  // The raw logits of one sequence's positions, ascending. Takes blocks from `cache` for as long as it runs; they do
  // not enter its index. kResourceExhausted when they do not suffice. REQUIRES: no slot is live (it uses the first's
  // tail)
  Status Score(std::span<const int32_t> token_ids, const ScoreOptions& options, kv::Cache& cache, LogitsFn on_logits);

  // What the bookkeeping of the cache has to be like.
  kv::CacheOptions cache_options() const;
  // Block `to` of a group becomes what block `from` is.
  void CopyBlock(int group, int32_t from, int32_t to);

  const ExecutorOptions& options() const { return options_; }
  const models::Model& model() const { return model_; }

 private:
  Executor(const models::Model& model, const ExecutorOptions& options, ThreadPool& pool, ops::Scratch scratch);
  // Whose logits a row has: those that a token is drawn from, or those that foretell a token of the prompt.
  struct Row {
    Sequence* sequence;
    int64_t foretold = -1;  // position in the prompt; -1: a token is drawn
    size_t result = 0;      // where what was drawn goes
  };

  Status AllocateCache();
  void BeginBatch();
  void AppendTokens(std::span<const int32_t> token_ids, int64_t begin, const kv::Holding& blocks, int32_t slot);
  void EndBatchAndForward(float* logits, const models::LayerTap* tap);
  void WantRows(const Work& work, Sequence& sequence);
  void UseRow(const Row& row, std::span<float> logits, sampling::Workspace& workspace, std::span<StepResult> results);

  const models::Model& model_;
  ExecutorOptions options_;
  ThreadPool& pool_;
  ops::Scratch scratch_;
  // One group of layers: its part of the cache, and where the batch under way lies in it.
  struct Group {
    int window = 0;
    Buffer bytes, tails;
    std::vector<int32_t> block_tables;  // [max_batch_size, block_table_stride_]
    std::vector<int32_t> slots;         // [T]
  };
  std::vector<Group> groups_;
  std::vector<ops::KvView> views_;                   // of groups_
  std::vector<models::KvGroupBatch> group_batches_;  // of groups_
  Tensor logits_;                                    // [max_batch_size + kMaxPromptRows, vocab_size]
  int64_t block_table_stride_;
  // The batch under way; capacity for the largest step.
  std::vector<int32_t> token_ids_, positions_, cu_seqlens_, logits_rows_, tail_slots_;
  int64_t max_context_ = 0;
  std::vector<sampling::Workspace> workspaces_;  // [num_threads]
  std::vector<Row> rows_;
  size_t num_drawn_ = 0;
};

}  // namespace ingot::engine
