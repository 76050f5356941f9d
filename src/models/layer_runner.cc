#include "models/layer_runner.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/check.h"

namespace ingot::models {
namespace {

constexpr int kBlockLen = 64;

}  // namespace

LayerRunner::LayerRunner(const ModelSpec& spec, const RunnerOptions& options, ThreadPool& pool)
    : spec_(spec),
      options_(options),
      layers_(spec, 0),
      context_{.pool = &pool, .scratch = &scratch_, .compute = options.compute} {
  kv_.layout = {.format = options.kv_format,
                .num_layers = 1,
                .num_kv_heads = spec.num_kv_heads,
                .head_dim = spec.head_dim,
                .block_len = kBlockLen};
  kv_.num_tails = 1;
}

int64_t LayerRunner::TokensOf(const HiddenStates& hidden) const {
  const int64_t tokens = std::ssize(hidden) / spec_.hidden_size;
  INGOT_CHECK(tokens > 0 && tokens * spec_.hidden_size == std::ssize(hidden));
  return tokens;
}

Status LayerRunner::Prepare(int64_t num_tokens, Positions logits, int64_t product_bytes) {
  const int64_t num_logits = logits.end - logits.begin;
  const auto blocks = static_cast<int32_t>((num_tokens + kBlockLen - 1) / kBlockLen);
  if (blocks > kv_.num_blocks) {
    INGOT_ASSIGN_OR_RETURN(kv_bytes_, Buffer::Allocate(blocks * kv_.layout.block_bytes()));
    INGOT_ASSIGN_OR_RETURN(tail_bytes_, Buffer::Allocate(kv_.layout.tail_bytes()));
    kv_.data = kv_bytes_.data();
    kv_.tails = tail_bytes_.data();
    kv_.num_blocks = blocks;
  }
  ScratchCount count;
  TakeActivations(spec_, num_tokens, num_logits, count);
  const int64_t tiles = ops::StepTilesScratchBytes(kv_.layout, num_tokens, 1);
  const int64_t attention =
      ops::AttentionScratchBytes(context_, num_tokens, spec_.num_heads, spec_.head_dim, num_tokens);
  const int64_t bytes = count.bytes() + tiles + std::max(attention, product_bytes) + 64;
  if (bytes > scratch_.size()) {
    INGOT_ASSIGN_OR_RETURN(scratch_, ops::Scratch::Allocate(bytes));
  }
  positions_.resize(static_cast<size_t>(num_tokens));
  std::iota(positions_.begin(), positions_.end(), 0);
  slots_ = positions_;
  block_table_.resize(static_cast<size_t>(blocks));
  std::iota(block_table_.begin(), block_table_.end(), 0);
  cu_seqlens_ = {0, static_cast<int32_t>(num_tokens)};
  tail_slots_ = {0};
  logits_rows_.resize(static_cast<size_t>(num_logits));
  std::iota(logits_rows_.begin(), logits_rows_.end(), static_cast<int32_t>(logits.begin));
  group_ = {.block_tables = block_table_, .block_table_stride = blocks, .slots = slots_};
  // The ids are not looked at: hidden states are given.
  batch_ = {.token_ids = positions_,
            .positions = positions_,
            .cu_seqlens = cu_seqlens_,
            .groups = {&group_, 1},
            .tail_slots = tail_slots_,
            .logits_rows = logits_rows_,
            .max_context = num_tokens};
  return Status();
}

HiddenStates LayerRunner::Embed(std::span<const int32_t> token_ids, const ops::PackedWeight& table) {
  HiddenStates hidden(token_ids.size() * static_cast<size_t>(spec_.hidden_size));
  ops::Embed(context_, {token_ids}, table, spec_.embedding_scale,
             {.data = hidden.data(), .dtype = DType::kF32, .shape = {std::ssize(token_ids), spec_.hidden_size}});
  return hidden;
}

Status LayerRunner::Run(int layer, const LayerWeights& weights, HiddenStates* hidden, const LinearTap* tap) {
  const int64_t num_tokens = TokensOf(*hidden);
  INGOT_RETURN_IF_ERROR(Prepare(num_tokens, {0, 0}, LinearScratchBytes(weights, num_tokens)));
  const ops::Scratch::Mark mark(scratch_);
  DecoderLayers::Step step = layers_.Begin(context_, batch_, {&kv_, 1});
  step.tap = tap;
  const size_t bytes = hidden->size() * sizeof(float);
  std::memcpy(step.a.hidden, hidden->data(), bytes);
  layers_.Run(step, layer, weights, {});
  std::memcpy(hidden->data(), step.a.hidden, bytes);
  return Status();
}

Status LayerRunner::Logits(const HiddenStates& hidden, const Head& head, Positions positions,
                           std::vector<float>* logits) {
  const int64_t num_tokens = TokensOf(hidden), rows = positions.end - positions.begin;
  INGOT_CHECK(positions.begin >= 0 && rows > 0 && positions.end <= num_tokens);
  INGOT_RETURN_IF_ERROR(Prepare(num_tokens, positions, ops::LinearScratchBytes(rows, head.weight)));
  const ops::Scratch::Mark mark(scratch_);
  const DecoderLayers::Step step = layers_.Begin(context_, batch_, {&kv_, 1});
  std::memcpy(step.a.hidden, hidden.data(), hidden.size() * sizeof(float));
  logits->resize(static_cast<size_t>(rows * spec_.vocab_size));
  layers_.Logits(step, head.final_norm, head.weight, logits->data());
  return Status();
}

}  // namespace ingot::models
