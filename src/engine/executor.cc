#include "engine/executor.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace ingot::engine {
namespace {

// Logits of a scoring pass are kept within this, unless the caller asks for a larger chunk.
constexpr int64_t kScoreLogitsBytes = int64_t{128} << 20;

int64_t MaxTokens(const ExecutorOptions& options) { return options.max_prefill_tokens + options.max_batch_size; }

int64_t ScratchBytes(const models::Model& model, const ExecutorOptions& options, ThreadPool& pool) {
  // ScratchBytes only reads the context's pool and kernels. Scoring wants logits of a whole chunk.
  const ops::Context context{.pool = &pool, .scratch = nullptr, .compute = options.compute};
  return model.ScratchBytes(context, {.max_tokens = MaxTokens(options),
                                      .max_seqs = options.max_batch_size,
                                      .max_logits = MaxTokens(options),
                                      .max_context = options.max_context,
                                      .kv_format = options.kv_format});
}

}  // namespace

ExecutorBytes Executor::BytesFor(const models::Model& model, const ExecutorOptions& options, ThreadPool& pool) {
  const int64_t vocab_size = model.spec().vocab_size;
  const int64_t logits = (options.max_batch_size + kMaxPromptRows) * vocab_size * static_cast<int64_t>(sizeof(float));
  const int64_t sampling = pool.num_threads() * vocab_size * static_cast<int64_t>(sizeof(sampling::Candidate));
  const std::vector<models::KvGroup> groups = model.kv_groups();
  INGOT_CHECK(groups.size() == options.num_blocks.size());
  ExecutorBytes bytes{.workspace = ScratchBytes(model, options, pool) + logits + sampling};
  for (size_t g = 0; g < groups.size(); ++g) {
    const ops::KvLayout layout = model.KvLayoutFor(groups[g], options.block_len, options.kv_format);
    bytes.kv += options.num_blocks[g] * layout.block_bytes();
    bytes.tails += options.max_batch_size * layout.tail_bytes();
  }
  return bytes;
}

Result<std::unique_ptr<Executor>> Executor::Create(const models::Model& model, const ExecutorOptions& options,
                                                   ThreadPool& pool) {
  INGOT_CHECK(options.max_batch_size >= 1 && options.max_prefill_tokens >= 1 && options.max_context >= 1);
  INGOT_CHECK(options.block_len >= 32 && options.block_len % 32 == 0);
  for (const int32_t blocks : options.num_blocks) INGOT_CHECK(blocks >= 1);
  INGOT_ASSIGN_OR_RETURN(ops::Scratch scratch, ops::Scratch::Allocate(ScratchBytes(model, options, pool)));
  std::unique_ptr<Executor> executor(new Executor(model, options, pool, std::move(scratch)));
  INGOT_RETURN_IF_ERROR(executor->AllocateCache());
  INGOT_ASSIGN_OR_RETURN(executor->logits_, Tensor::Allocate(DType::kF32, {options.max_batch_size + kMaxPromptRows,
                                                                           model.spec().vocab_size}));
  return executor;
}

Status Executor::AllocateCache() {
  const std::vector<models::KvGroup> groups = model_.kv_groups();
  if (groups.size() > kv::kMaxGroups) {
    return Unsupported("{} kinds of layers by what they cache; at most {} are served", groups.size(), kv::kMaxGroups);
  }
  const auto max_tokens = static_cast<size_t>(MaxTokens(options_));
  const auto max_seqs = static_cast<size_t>(options_.max_batch_size);
  for (size_t g = 0; g < groups.size(); ++g) {
    const ops::KvLayout layout = model_.KvLayoutFor(groups[g], options_.block_len, options_.kv_format);
    const int32_t num_blocks = options_.num_blocks[g];
    Group& group = groups_.emplace_back();
    group.window = groups[g].window;
    INGOT_ASSIGN_OR_RETURN(group.bytes, Buffer::Allocate(num_blocks * layout.block_bytes()));
    INGOT_ASSIGN_OR_RETURN(group.tails, Buffer::Allocate(options_.max_batch_size * layout.tail_bytes()));
    group.block_tables.resize(max_seqs * static_cast<size_t>(block_table_stride_));
    group.slots.reserve(max_tokens);
    views_.push_back({.layout = layout,
                      .data = group.bytes.data(),
                      .num_blocks = num_blocks,
                      .tails = group.tails.data(),
                      .num_tails = options_.max_batch_size});
  }
  group_batches_.resize(groups_.size());
  return {};
}

kv::CacheOptions Executor::cache_options() const {
  // In an int4 cache are whole tiles only.
  kv::CacheOptions cache{.block_len = options_.block_len,
                         .granularity = options_.kv_format == ops::KvFormat::kI4 ? ops::kKvTile : 1};
  for (size_t g = 0; g < groups_.size(); ++g) cache.groups.push_back({groups_[g].window, options_.num_blocks[g]});
  return cache;
}

void Executor::CopyBlock(int group, int32_t from, int32_t to) {
  const ops::KvView& view = views_[static_cast<size_t>(group)];
  const int64_t bytes = view.layout.block_bytes();
  std::memcpy(view.data + to * bytes, view.data + from * bytes, static_cast<size_t>(bytes));
}

Executor::Executor(const models::Model& model, const ExecutorOptions& options, ThreadPool& pool, ops::Scratch scratch)
    : model_(model),
      options_(options),
      pool_(pool),
      scratch_(std::move(scratch)),
      block_table_stride_(kv::BlocksFor(options.max_context, options.block_len)) {
  const auto max_tokens = static_cast<size_t>(MaxTokens(options));
  const auto max_seqs = static_cast<size_t>(options.max_batch_size);
  token_ids_.reserve(max_tokens);
  positions_.reserve(max_tokens);
  logits_rows_.reserve(max_tokens);
  cu_seqlens_.reserve(max_seqs + 1);
  tail_slots_.reserve(max_seqs);
  rows_.reserve(max_seqs + static_cast<size_t>(kMaxPromptRows));
  for (int i = 0; i < pool.num_threads(); ++i) workspaces_.emplace_back(model.spec().vocab_size);
}

void Executor::BeginBatch() {
  token_ids_.clear();
  positions_.clear();
  logits_rows_.clear();
  tail_slots_.clear();
  cu_seqlens_.assign(1, 0);
  for (Group& group : groups_) group.slots.clear();
  max_context_ = 0;
}

void Executor::AppendTokens(std::span<const int32_t> token_ids, int64_t begin, const kv::Holding& blocks,
                            int32_t slot) {
  const size_t seq = cu_seqlens_.size() - 1;
  const int64_t end = begin + static_cast<int64_t>(token_ids.size());
  token_ids_.insert(token_ids_.end(), token_ids.begin(), token_ids.end());
  for (int64_t position = begin; position < end; ++position) positions_.push_back(static_cast<int32_t>(position));
  for (size_t g = 0; g < groups_.size(); ++g) {
    const kv::BlockTable& table = blocks.tables[g];
    for (int64_t position = begin; position < end; ++position) groups_[g].slots.push_back(table.SlotOf(position));
    std::ranges::copy(table.ids(), groups_[g].block_tables.begin() +
                                       static_cast<std::ptrdiff_t>(seq * static_cast<size_t>(block_table_stride_)));
  }
  cu_seqlens_.push_back(static_cast<int32_t>(token_ids_.size()));
  tail_slots_.push_back(slot);
  max_context_ = std::max(max_context_, end);
}

void Executor::EndBatchAndForward(float* logits, const models::LayerTap* tap) {
  const size_t num_seqs = cu_seqlens_.size() - 1;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const std::span<const int32_t> tables = groups_[g].block_tables;
    group_batches_[g] = {.block_tables = tables.first(num_seqs * static_cast<size_t>(block_table_stride_)),
                         .block_table_stride = block_table_stride_,
                         .slots = groups_[g].slots};
  }
  const models::StepBatch batch{.token_ids = token_ids_,
                                .positions = positions_,
                                .cu_seqlens = cu_seqlens_,
                                .groups = group_batches_,
                                .tail_slots = tail_slots_,
                                .logits_rows = logits_rows_,
                                .max_context = max_context_};
  const ops::Context context{.pool = &pool_, .scratch = &scratch_, .compute = options_.compute};
  model_.Forward(context, batch, views_, logits, tap);
}

void Executor::Run(std::span<const Work> work, std::span<Sequence* const> slots, std::span<StepResult> results) {
  BeginBatch();
  rows_.clear();
  num_drawn_ = 0;
  for (const Work& w : work) WantRows(w, *slots[static_cast<size_t>(w.slot)]);
  EndBatchAndForward(logits_.Data<float>(), nullptr);
  const auto vocab_size = static_cast<size_t>(model_.spec().vocab_size);
  pool_.ParallelForWorker(static_cast<int64_t>(rows_.size()), [&](int64_t index, int worker) {
    const auto row = static_cast<size_t>(index);
    UseRow(rows_[row], std::span(logits_.Data<float>() + row * vocab_size, vocab_size),
           workspaces_[static_cast<size_t>(worker)], results);
  });
}

// Adds the work's tokens to the batch, and the rows of logits that are wanted of them.
void Executor::WantRows(const Work& work, Sequence& sequence) {
  const auto first_row = static_cast<int64_t>(token_ids_.size());
  const int64_t end = work.begin + work.count;
  AppendTokens(std::span(sequence.tokens).subspan(static_cast<size_t>(work.begin), static_cast<size_t>(work.count)),
               work.begin, sequence.blocks, work.slot);
  if (sequence.wants_prompt_logprobs()) {
    const auto known = static_cast<int64_t>(sequence.prompt_logprobs.size());
    const int64_t last = std::min(end, sequence.prompt_length - 1);
    for (int64_t position = std::max(work.begin, known); position < last; ++position) {
      logits_rows_.push_back(static_cast<int32_t>(first_row + position - work.begin));
      rows_.push_back({.sequence = &sequence, .foretold = position + 1});
    }
    sequence.prompt_logprobs.resize(static_cast<size_t>(std::max(known, last)));
  }
  if (!work.sample) return;
  logits_rows_.push_back(static_cast<int32_t>(token_ids_.size()) - 1);
  rows_.push_back({.sequence = &sequence, .result = num_drawn_++});
}

void Executor::UseRow(const Row& row, std::span<float> logits, sampling::Workspace& workspace,
                      std::span<StepResult> results) {
  Sequence& sequence = *row.sequence;
  const Request& request = sequence.request;
  if (row.foretold >= 0) {
    sampling::Sampled& told = sequence.prompt_logprobs[static_cast<size_t>(row.foretold) - 1];
    const int32_t id = sequence.tokens[static_cast<size_t>(row.foretold)];
    if (sampling::Describe(logits, id, request.prompt_logprobs, workspace, &told) != sampling::Outcome::kOk) {
      told = {.id = id, .logprob = sampling::kLowestLogprob};
    }
    return;
  }
  const sampling::SampleInputs inputs{.params = &request.sampling,
                                      .history = request.sampling.penalizes() ? &sequence.history : nullptr,
                                      .bias = request.logit_bias,
                                      .masked = sequence.Masked(),
                                      .position = static_cast<uint64_t>(sequence.num_tokens()),
                                      .allowed = request.token_mask.get()};
  StepResult& result = results[row.result];
  result.outcome = sampling::Sample(logits, inputs, workspace, &result.token);
}

Status Executor::Score(std::span<const int32_t> token_ids, const ScoreOptions& options, kv::Cache& cache,
                       LogitsFn on_logits) {
  const auto length = static_cast<int64_t>(token_ids.size());
  const int64_t vocab_size = model_.spec().vocab_size;
  const int64_t suits = std::max<int64_t>(1, kScoreLogitsBytes / (vocab_size * static_cast<int64_t>(sizeof(float))));
  const int64_t chunk = std::min(options.chunk > 0 ? options.chunk : suits, options_.max_prefill_tokens);
  INGOT_ASSIGN_OR_RETURN(const Tensor logits, Tensor::Allocate(DType::kF32, {std::min(chunk, length), vocab_size}));
  kv::Holding holding = cache.MakeHolding(length, nullptr);
  for (int64_t begin = 0; begin < length; begin += chunk) {
    const int64_t end = std::min(length, begin + chunk);
    if (!cache.Grow(&holding, end)) {
      return ResourceExhausted("a sequence of {} tokens needs {} cache blocks of {} tokens, and {} can be had", length,
                               kv::BlocksFor(length, options_.block_len), options_.block_len,
                               holding.tables[0].size() + cache.Available(0));
    }
    BeginBatch();
    AppendTokens(token_ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)), begin, holding, 0);
    const int64_t first = std::clamp(options.first_position, begin, end);
    for (int64_t position = first; position < end; ++position) {
      logits_rows_.push_back(static_cast<int32_t>(position - begin));
    }
    EndBatchAndForward(logits.Data<float>(), options.tap);
    for (int64_t position = first; position < end; ++position) {
      on_logits(position, logits.Data<float>() + (position - first) * vocab_size);
    }
    cache.Commit(&holding, token_ids, end);
  }
  return {};
}

}  // namespace ingot::engine
