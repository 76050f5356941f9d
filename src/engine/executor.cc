#include "engine/executor.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "ops/profile.h"

namespace ingot::engine {
namespace {

// Logits of a scoring pass are kept within this, unless the caller asks for a larger chunk.
constexpr int64_t kScoreLogitsBytes = int64_t{128} << 20;

int64_t MaxDraws(const ExecutorOptions& options) { return int64_t{options.max_batch_size} * (1 + options.max_drafts); }
int64_t MaxTokens(const ExecutorOptions& options) { return options.max_prefill_tokens + MaxDraws(options); }
int64_t MaxRows(const ExecutorOptions& options) { return MaxDraws(options) + kMaxPromptRows; }

sampling::Sampled UnknownLogprob(int32_t id) { return {.id = id, .logprob = sampling::kLowestLogprob}; }

// Of a backend that draws.
int64_t DrawResultBytes(int64_t rows) { return rows * static_cast<int64_t>(sizeof(ops::DrawResult)); }

ops::StepLimits LimitsOf(const models::Model& model, const ExecutorOptions& options, const ops::Backend& backend) {
  return {.max_tokens = MaxTokens(options),
          .max_seqs = options.max_batch_size,
          .max_context = options.max_context,
          .max_draws = backend.draws(model.spec().vocab_size) ? MaxRows(options) : 0};
}

int64_t ScratchBytes(const models::Model& model, const ExecutorOptions& options, const ops::Backend& backend) {
  return model.ScratchBytes(backend, {.step = LimitsOf(model, options, backend),
                                      .max_logits = MaxTokens(options),  // scoring wants those of a whole chunk
                                      .kv_format = options.kv_format});
}

}  // namespace

ExecutorBytes Executor::BytesFor(const models::Model& model, const ExecutorOptions& options,
                                 const ops::Backend& backend) {
  const int64_t vocab_size = model.spec().vocab_size;
  const int64_t logits = MaxRows(options) * vocab_size * static_cast<int64_t>(sizeof(float));
  const int64_t sampling =
      backend.host().pool->num_threads() * vocab_size * static_cast<int64_t>(sizeof(sampling::Candidate));
  const std::vector<models::KvGroup> groups = model.kv_groups();
  INGOT_CHECK(groups.size() == options.num_blocks.size());
  ExecutorBytes bytes{.workspace = ScratchBytes(model, options, backend) + logits + sampling};
  if (backend.draws(vocab_size)) bytes.workspace += DrawResultBytes(MaxRows(options));
  for (size_t g = 0; g < groups.size(); ++g) {
    const ops::KvLayout layout = model.KvLayoutFor(backend, groups[g], options.block_len, options.kv_format);
    bytes.kv += options.num_blocks[g] * layout.block_bytes;
    bytes.tails += options.max_batch_size * layout.tail_bytes;
  }
  return bytes;
}

Result<std::unique_ptr<Executor>> Executor::Create(const models::Model& model, const ExecutorOptions& options,
                                                   ops::Backend& backend) {
  return Create(model, options, backend, std::make_unique<InlineStream>());
}

Result<std::unique_ptr<Executor>> Executor::Create(const models::Model& model, const ExecutorOptions& options,
                                                   ops::Backend& backend, std::unique_ptr<Stream> stream) {
  INGOT_CHECK(options.max_batch_size >= 1 && options.max_prefill_tokens >= 1 && options.max_context >= 1);
  INGOT_CHECK(options.block_len >= 32 && options.block_len % 32 == 0);
  for (const int32_t blocks : options.num_blocks) INGOT_CHECK(blocks >= 1);
  INGOT_ASSIGN_OR_RETURN(ops::Scratch scratch, ops::Scratch::Allocate(backend, ScratchBytes(model, options, backend)));
  std::unique_ptr<Executor> executor(new Executor(model, options, backend, std::move(scratch), std::move(stream)));
  INGOT_RETURN_IF_ERROR(executor->AllocateCache());
  const Shape logits{MaxRows(options), model.spec().vocab_size};
  INGOT_ASSIGN_OR_RETURN(executor->logits_, ops::AllocateTensor(backend, DType::kF32, logits));
  INGOT_ASSIGN_OR_RETURN(executor->drawn_tokens_, ops::AllocateTensor(backend, DType::kI32, {options.max_batch_size}));
  INGOT_RETURN_IF_ERROR(executor->AllocateDraws());
  executor->drawn_ids_.resize(static_cast<size_t>(options.max_batch_size));
  return executor;
}

Status Executor::AllocateCache() {
  const std::vector<models::KvGroup> groups = model_.kv_groups();
  if (groups.size() > kv::kMaxGroups) {
    return Unsupported("{} kinds of layers by what they cache; at most {} are served", groups.size(), kv::kMaxGroups);
  }
  std::vector<ops::KvLayout> layouts;
  for (size_t g = 0; g < groups.size(); ++g) {
    const ops::KvLayout layout = model_.KvLayoutFor(backend_, groups[g], options_.block_len, options_.kv_format);
    layouts.push_back(layout);
    const int32_t num_blocks = options_.num_blocks[g];
    Group& group = groups_.emplace_back();
    group.is_state = groups[g].state_bytes > 0;
    group.window = group.is_state ? kv::kStateWindow : groups[g].window;
    INGOT_ASSIGN_OR_RETURN(group.bytes, backend_.Allocate(num_blocks * layout.block_bytes));
    INGOT_ASSIGN_OR_RETURN(group.tails, backend_.Allocate(options_.max_batch_size * layout.tail_bytes));
    views_.push_back({.layout = layout,
                      .data = group.bytes.data(),
                      .num_blocks = num_blocks,
                      .tails = group.tails.data(),
                      .num_tails = options_.max_batch_size});
  }
  INGOT_RETURN_IF_ERROR(backend_.ReserveStep(LimitsOf(model_, options_, backend_), layouts));
  const BatchBuilder::Limits limits{.max_tokens = MaxTokens(options_),
                                    .max_seqs = options_.max_batch_size,
                                    .max_context = options_.max_context,
                                    .num_groups = static_cast<int>(groups.size()),
                                    .block_len = options_.block_len};
  for (int i = 0; i < 2; ++i) steps_.emplace_back(limits, static_cast<size_t>(MaxRows(options_)));
  return {};
}

Status Executor::AllocateDraws() {
  device_draws_ = backend_.draws(model_.spec().vocab_size);
  if (!device_draws_) return {};
  const int64_t rows = MaxRows(options_);
  INGOT_ASSIGN_OR_RETURN(draw_results_, backend_.Allocate(DrawResultBytes(rows)));
  for (Step& step : steps_) {
    step.draws.reserve(static_cast<size_t>(rows));
    step.edits.reserve(ops::kMaxLogitEdits);
    INGOT_ASSIGN_OR_RETURN(step.drawn, backend_.AllocatePinned(DrawResultBytes(rows)));
  }
  return {};
}

kv::CacheOptions Executor::cache_options() const {
  // In an int4 cache are whole tiles only.
  kv::CacheOptions cache{.block_len = options_.block_len,
                         .granularity = options_.kv_format == ops::KvFormat::kI4 ? ops::kKvTile : 1};
  for (size_t g = 0; g < groups_.size(); ++g) {
    cache.groups.push_back({groups_[g].window, options_.num_blocks[g], groups_[g].is_state});
  }
  return cache;
}

void Executor::CopyBlock(int group, int32_t from, int32_t to) { StepOf(launched_).copies.push_back({group, from, to}); }

void Executor::CopyBlocks(Step& step) {
  for (const BlockCopy& copy : step.copies) {
    const ops::KvView& view = views_[static_cast<size_t>(copy.group)];
    const int64_t bytes = view.layout.block_bytes;
    backend_.Copy(view.data + copy.to * bytes, view.data + copy.from * bytes, bytes);
  }
  step.copies.clear();
}

Executor::Executor(const models::Model& model, const ExecutorOptions& options, ops::Backend& backend,
                   ops::Scratch scratch, std::unique_ptr<Stream> stream)
    : model_(model), options_(options), backend_(backend), scratch_(std::move(scratch)), stream_(std::move(stream)) {
  for (int i = 0; i < backend.host().pool->num_threads(); ++i) workspaces_.emplace_back(model.spec().vocab_size);
}

Executor::Step::Step(const BatchBuilder::Limits& limits, size_t max_rows) : batch(limits) {
  copies.reserve(static_cast<size_t>(limits.max_seqs * limits.num_groups));
  rows.reserve(max_rows);
  results.reserve(max_rows);
}

Executor::Ticket Executor::Launch(std::span<const Work> work, std::span<Sequence* const> slots) {
  Step& step = StepOf(launched_);
  step.batch.Clear();
  step.rows.clear();
  step.results.clear();
  for (const Work& w : work) AddWork(w, *slots[static_cast<size_t>(w.slot)], &step);
  PadDecodes(work, &step);
  if (device_draws_) DescribeDraws(&step);
  step.posted = stream_->Post([this, &step] { Execute(step); });
  return launched_++;
}

// Steps of decodes alone, where the backend wants it.
void Executor::PadDecodes(std::span<const Work> work, Step* step) {
  const auto is_decode = [](const Work& w) { return w.count == 1 && w.num_drafts == 0 && w.sample; };
  if (step->rows.size() != work.size() || !std::ranges::all_of(work, is_decode)) return;
  const int64_t padded = backend_.PaddedDecodes(std::ssize(work));
  if (padded > 0) step->batch.PadDecodes(std::min<int64_t>(padded, options_.max_batch_size));
}

Result<std::span<const StepResult>> Executor::Collect(Ticket ticket) {
  Step& step = StepOf(ticket);
  stream_->Wait(step.posted);
  INGOT_RETURN_IF_ERROR(std::exchange(step.status, Status()));
  if (device_draws_) ReadDraws(step);
  return std::span<const StepResult>(step.results);
}

// Adds the work's tokens to the batch, and the rows of logits that are wanted of them.
void Executor::AddWork(const Work& work, Sequence& sequence, Step* step) {
  const int64_t end = work.begin + work.count - work.num_drafts;
  const int64_t known = std::min(end, sequence.num_tokens());
  step->batch.AddTokens(
      std::span(sequence.tokens).subspan(static_cast<size_t>(work.begin), static_cast<size_t>(known - work.begin)));
  const int32_t drawn = ~work.slot;
  INGOT_CHECK(end - known <= 1);
  if (known < end) step->batch.AddTokens({&drawn, 1});
  step->batch.AddTokens(std::span(sequence.drafts).first(static_cast<size_t>(work.num_drafts)));
  step->batch.EndSequence({.begin = work.begin, .slot = work.slot, .adapter = sequence.request.adapter},
                          sequence.blocks);
  if (sequence.wants_prompt_logprobs()) AddPromptRows(work, sequence, step);
  if (work.sample) AddDraws(work, sequence, step);
}

void Executor::AddPromptRows(const Work& work, Sequence& sequence, Step* step) {
  const auto known = static_cast<int64_t>(sequence.prompt_logprobs.size());
  const int64_t last = std::min(work.begin + work.count, sequence.prompt_length - 1);
  sequence.prompt_logprobs.resize(static_cast<size_t>(std::max(known, last)));
  for (int64_t position = std::max(work.begin, known); position < last; ++position) {
    step->batch.WantLogits(step->batch.num_tokens() - (work.begin + work.count - position));
    step->rows.push_back({.predicted = sequence.tokens[static_cast<size_t>(position) + 1],
                          .num_top = sequence.request.prompt_logprobs,
                          .told = &sequence.prompt_logprobs[static_cast<size_t>(position)]});
  }
}

// A draw after the last token that is no draft, and after each draft.
void Executor::AddDraws(const Work& work, Sequence& sequence, Step* step) {
  const Request& request = sequence.request;
  sampling::SampleInputs inputs{.params = &request.sampling,
                                .history = request.sampling.penalizes() ? &sequence.history : nullptr,
                                .bias = request.logit_bias,
                                .masked = sequence.Masked(),
                                .position = static_cast<uint64_t>(work.begin + work.count - work.num_drafts),
                                .allowed = request.token_mask.get()};
  for (int32_t draw = 0; draw <= work.num_drafts; ++draw, ++inputs.position) {
    step->batch.WantLogits(step->batch.num_tokens() - 1 - work.num_drafts + draw);
    step->rows.push_back({.inputs = inputs, .slot = work.slot, .result = &step->results.emplace_back()});
  }
}

// What the device is to draw; rows that it cannot do are left to the host, and those that fill up the batch to no one.
void Executor::DescribeDraws(Step* step) const {
  step->edits.clear();
  step->draws.assign(static_cast<size_t>(step->batch.num_logits()), {});
  for (size_t i = 0; i < step->rows.size(); ++i) {
    Row& row = step->rows[i];
    ops::DrawRow draw;
    if (row.result == nullptr) {
      draw.told = row.predicted;
      draw.num_top = row.num_top;
    } else if (!sampling::DescribeDraw(row.inputs, model_.spec().vocab_size, &step->edits, &draw)) {
      continue;
    } else {
      // Of the draws after a sequence's drafts the last one is kept.
      const bool is_last = i + 1 == step->rows.size() || step->rows[i + 1].slot != row.slot;
      draw.slot = is_last ? row.slot : -1;
    }
    draw.row = static_cast<int32_t>(i);
    row.on_host = false;
    step->draws[i] = draw;
  }
  step->batch.SetDraws(step->draws, step->edits);
}

// The device's half of a step: what it touches is the step's, the cache's or this device's own.
void Executor::Execute(Step& step) {
  CopyBlocks(step);
  step.status = Forward(step.batch, logits_.view().Rows(0, step.batch.num_logits()), nullptr);
  if (!step.status.ok()) return;
  device_draws_ ? Draw(step) : DrawAllOnHost(step);
}

void Executor::Draw(Step& step) {
  backend_.Draw(MakeContext(),
                {.logits = logits_.view(), .drawn_tokens = drawn_tokens_.view(), .results = draw_results_.data()});
  if (!step.draws.empty()) {
    backend_.DownloadLater(step.drawn.data(), draw_results_.data(), DrawResultBytes(std::ssize(step.draws)));
  }
  step.mark = backend_.Mark();
  for (size_t i = 0; i < step.rows.size(); ++i) {
    if (step.rows[i].on_host) DrawOnHost(step.rows[i], logits_.view().Rows(static_cast<int64_t>(i), 1));
  }
}

// A row of a step that the device draws else.
void Executor::DrawOnHost(const Row& row, const TensorView& logits) {
  UseRow(row, {backend_.ReadBack(logits), static_cast<size_t>(logits.shape[1])}, workspaces_[0]);
  backend_.Upload(reinterpret_cast<std::byte*>(drawn_tokens_.Data<int32_t>() + row.slot), &row.result->token.id,
                  sizeof(int32_t));
}

void Executor::ReadDraws(Step& step) const {
  backend_.WaitFor(step.mark);
  const auto* const draws = reinterpret_cast<const ops::DrawResult*>(step.drawn.data());
  for (size_t i = 0; i < step.rows.size(); ++i) {
    const Row& row = step.rows[i];
    if (row.on_host) continue;
    if (row.result != nullptr) {
      row.result->outcome = sampling::ReadDraw(draws[i], &row.result->token);
    } else if (sampling::ReadDraw(draws[i], row.told) != sampling::Outcome::kOk) {
      *row.told = UnknownLogprob(row.predicted);
    }
  }
}

void Executor::DrawAllOnHost(Step& step) {
  const TensorView wanted = logits_.view().Rows(0, std::ssize(step.rows));
  const auto vocab_size = static_cast<size_t>(model_.spec().vocab_size);
  float* const logits = backend_.ReadBack(wanted);
  const ops::Timed timed(options_.profile,
                         {.op = "sample", .rows = std::ssize(step.rows), .bytes = static_cast<double>(wanted.bytes())});
  backend_.host().pool->ParallelForWorker(std::ssize(step.rows), [&](int64_t index, int worker) {
    const auto row = static_cast<size_t>(index);
    UseRow(step.rows[row], std::span(logits + row * vocab_size, vocab_size), workspaces_[static_cast<size_t>(worker)]);
  });
  if (step.results.empty()) return;
  for (const Row& row : step.rows) {
    if (row.result != nullptr) drawn_ids_[static_cast<size_t>(row.slot)] = row.result->token.id;
  }
  backend_.Upload(reinterpret_cast<std::byte*>(drawn_tokens_.Data<int32_t>()), drawn_ids_.data(),
                  std::ssize(drawn_ids_) * static_cast<int64_t>(sizeof(int32_t)));
}

ops::Context Executor::MakeContext() {
  return {.backend = &backend_, .scratch = &scratch_, .compute = options_.compute, .profile = options_.profile};
}

Status Executor::Forward(BatchBuilder& batch, const TensorView& logits, const models::LayerTap* tap) {
  return model_.Forward(MakeContext(), batch.Batch(drawn_tokens_.view()), views_, logits, tap);
}

void Executor::UseRow(const Row& row, std::span<float> logits, sampling::Workspace& workspace) {
  if (row.result != nullptr) {
    row.result->outcome = sampling::Sample(logits, row.inputs, workspace, &row.result->token);
    return;
  }
  if (sampling::Describe(logits, row.predicted, row.num_top, workspace, row.told) != sampling::Outcome::kOk) {
    *row.told = UnknownLogprob(row.predicted);
  }
}

Status Executor::Score(std::span<const int32_t> token_ids, const ScoreOptions& options, kv::Cache& cache,
                       LogitsFn on_logits) {
  const auto length = static_cast<int64_t>(token_ids.size());
  const int64_t vocab_size = model_.spec().vocab_size;
  const int64_t suits = std::max<int64_t>(1, kScoreLogitsBytes / (vocab_size * static_cast<int64_t>(sizeof(float))));
  const int64_t chunk = std::min(options.chunk > 0 ? options.chunk : suits, options_.max_prefill_tokens);
  INGOT_ASSIGN_OR_RETURN(const Tensor logits,
                         ops::AllocateTensor(backend_, DType::kF32, {std::min(chunk, length), vocab_size}));
  kv::Holding holding = cache.MakeHolding(length, nullptr);
  CopyBlocks(StepOf(launched_));
  BatchBuilder& batch = StepOf(launched_).batch;
  for (int64_t begin = 0; begin < length; begin += chunk) {
    const int64_t end = std::min(length, begin + chunk);
    if (!cache.Grow(&holding, end)) {
      return ResourceExhausted("a sequence of {} tokens needs {} cache blocks of {} tokens, and {} can be had", length,
                               kv::BlocksFor(length, options_.block_len), options_.block_len,
                               holding.tables[0].size() + cache.Available(0));
    }
    batch.Clear();
    batch.AddTokens(token_ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
    batch.EndSequence({.begin = begin}, holding);
    const int64_t first = std::clamp(options.first_position, begin, end);
    for (int64_t position = first; position < end; ++position) {
      batch.WantLogits(position - begin);
    }
    const TensorView wanted = logits.view().Rows(0, end - first);
    INGOT_RETURN_IF_ERROR(Forward(batch, wanted, options.tap));
    const float* const rows = backend_.ReadBack(wanted);
    for (int64_t position = first; position < end; ++position) {
      on_logits(position, rows + (position - first) * vocab_size);
    }
    cache.Commit(&holding, token_ids, end);
  }
  return {};
}

}  // namespace ingot::engine
