// Runs planned steps on the model: owns the KV cache's bytes, the scratch memory and the buffers of the steps' batches.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "engine/batch_builder.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/stream.h"
#include "kv/cache.h"
#include "models/model.h"
#include "sampling/device_draw.h"
#include "sampling/sampler.h"

namespace ingot::engine {

struct ExecutorOptions {
  int max_batch_size = 1;          // slots
  int64_t max_prefill_tokens = 1;  // of a step, in addition to the decodes
  int64_t max_context = 1;         // longest sequence
  int max_drafts = 0;              // tokens of a sequence that a step checks besides the one it draws
  int block_len = 64;
  std::vector<int32_t> num_blocks = {1};  // of each group of layers (Model::kv_groups)
  bool prefix_caching = true;             // what is computed for one request serves others
  ops::KvFormat kv_format = ops::KvFormat::kF16;
  ops::Compute compute = ops::Compute::kFast;
  ops::Profile* profile = nullptr;  // of forward passes and of sampling
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

// Thread safety: none; the engine thread owns it. Launch and Collect allocate nothing.
// Invariants: at most two steps are launched and not yet collected. What a launched step reads of its sequences is
// copied by Launch, or does not change before it is collected: their requests, and the histories and masks of those
// whose next token is not drawn meanwhile (Sequence::NeedsLastToken). What it does to the cache comes before whatever
// is launched or copied later, so blocks may be given back, and taken by others, while it runs.
class Executor {
 public:
  // What Create would take.
  static ExecutorBytes BytesFor(const models::Model& model, const ExecutorOptions& options,
                                const ops::Backend& backend);
  // `model` and `backend`, which it was loaded for, outlive it.
  static Result<std::unique_ptr<Executor>> Create(const models::Model& model, const ExecutorOptions& options,
                                                  ops::Backend& backend);
  // The same with a stream other than the backend's.
  static Result<std::unique_ptr<Executor>> Create(const models::Model& model, const ExecutorOptions& options,
                                                  ops::Backend& backend, std::unique_ptr<Stream> stream);

  // Begins one forward pass over `work`, whose blocks have been allocated, and a draw for each with `sample`, and one
  // more for each of its drafts, in the same order. A token past those that the host knows, and that is no draft, is
  // the one last drawn for its slot. slots: [max_batch_size], null where free; each lives until its step is collected.
  // Returns a ticket.
  using Ticket = int64_t;
  Ticket Launch(std::span<const Work> work, std::span<Sequence* const> slots);
  // Waits for what was drawn. The results stay until the next but one is launched. An error where the forward pass
  // failed: what the step, and the one launched behind it, wrote to the cache is undefined.
  Result<std::span<const StepResult>> Collect(Ticket ticket);
  // Whether a step should be launched before the one before it is collected.
  bool runs_behind() const { return stream_->runs_behind() || backend_.runs_behind(); }

  // The raw logits of one sequence's positions, ascending. Takes blocks from `cache` for as long as it runs; they do
  // not enter its index. kResourceExhausted when they do not suffice; a forward pass's own error. REQUIRES: no slot is
  // live (it uses the first's tail), and every step is collected
  Status Score(std::span<const int32_t> token_ids, const ScoreOptions& options, kv::Cache& cache, LogitsFn on_logits);

  // What the bookkeeping of the cache has to be like.
  kv::CacheOptions cache_options() const;
  // Block `to` of a group becomes what block `from` is, after all that was launched and before what is launched next.
  // At most one for each slot and group between two launches.
  void CopyBlock(int group, int32_t from, int32_t to);

  const ExecutorOptions& options() const { return options_; }
  const models::Model& model() const { return model_; }

 private:
  Executor(const models::Model& model, const ExecutorOptions& options, ops::Backend& backend, ops::Scratch scratch,
           std::unique_ptr<Stream> stream);
  // Whose logits a row has: those that a token is drawn from, or those that predict a token of the prompt.
  struct Row {
    sampling::SampleInputs inputs{};  // of a draw
    int32_t slot = 0;                 // of a draw
    StepResult* result = nullptr;     // of a draw
    int32_t predicted = -1;           // the prompt's token, where one is predicted
    int num_top = 0;                  // alternatives to report of it
    sampling::Sampled* told = nullptr;
    bool on_host = true;  // else the device draws
  };
  struct BlockCopy {
    int group;
    int32_t from, to;
  };
  // A launched step. One is filled by the host while the device works on the other.
  struct Step {
    Step(const BatchBuilder::Limits& limits, size_t max_rows);
    std::vector<BlockCopy> copies;  // before its forward pass
    BatchBuilder batch;
    std::vector<Row> rows;
    std::vector<StepResult> results;
    // Where the device draws.
    std::vector<ops::DrawRow> draws;  // as rows, and those that fill up the batch
    std::vector<ops::LogitEdit> edits;
    Buffer drawn;        // pinned: ops::DrawResult [draws]
    int64_t mark = 0;    // behind its last work on the device
    Status status;       // of its forward pass
    int64_t posted = 0;  // number of its work in the stream
  };

  Status AllocateCache();
  Status AllocateDraws();
  Step& StepOf(Ticket ticket) { return steps_[static_cast<size_t>(ticket) % steps_.size()]; }
  void PadDecodes(std::span<const Work> work, Step* step);
  void AddWork(const Work& work, Sequence& sequence, Step* step);
  void AddDraws(const Work& work, Sequence& sequence, Step* step);
  void AddPromptRows(const Work& work, Sequence& sequence, Step* step);
  void DescribeDraws(Step* step) const;
  void Execute(Step& step);
  void Draw(Step& step);
  void DrawAllOnHost(Step& step);
  void DrawOnHost(const Row& row, const TensorView& logits);
  void ReadDraws(Step& step) const;
  ops::Context MakeContext();
  void CopyBlocks(Step& step);
  Status Forward(BatchBuilder& batch, const TensorView& logits, const models::LayerTap* tap);
  static void UseRow(const Row& row, std::span<float> logits, sampling::Workspace& workspace);

  const models::Model& model_;
  ExecutorOptions options_;
  ops::Backend& backend_;
  ops::Scratch scratch_;
  // One group of layers: its part of the cache.
  struct Group {
    bool is_state = false;
    int window = 0;
    Buffer bytes, tails;
  };
  std::vector<Group> groups_;
  std::vector<ops::KvView> views_;  // of groups_
  Tensor logits_;                   // [MaxRows, vocab_size]
  Tensor drawn_tokens_;             // i32 [max_batch_size] the token last drawn for each slot
  std::vector<int32_t> drawn_ids_;  // the same on the host, of DrawAllOnHost
  bool device_draws_ = false;
  Buffer draw_results_;                          // ops::DrawResult [MaxRows], where the device draws
  std::vector<sampling::Workspace> workspaces_;  // [num_threads]
  std::vector<Step> steps_;                      // [2] by ticket
  Ticket launched_ = 0;
  std::unique_ptr<Stream> stream_;  // goes first: it may be working
};

}  // namespace ingot::engine
