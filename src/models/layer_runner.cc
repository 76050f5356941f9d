#include "models/layer_runner.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace ingot::models {
namespace {

constexpr int kBlockLen = 64;

}  // namespace

LayerRunner::LayerRunner(const ModelSpec& spec, const RunnerOptions& options, ops::Backend& backend)
    : spec_(spec),
      options_(options),
      backend_(backend),
      context_{.backend = &backend, .scratch = &scratch_, .compute = options.compute} {
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
  if (!layers_) {
    INGOT_ASSIGN_OR_RETURN(layers_, DecoderLayers::Make(spec_, 0, backend_));
    kv_.layout = backend_.LayoutOf({.format = options_.kv_format,
                                    .num_layers = 1,
                                    .num_heads = spec_.heads().num_heads,
                                    .num_kv_heads = spec_.heads().num_kv_heads,
                                    .head_dim = spec_.heads().head_dim,
                                    .block_len = kBlockLen});
  }
  if (blocks > kv_.num_blocks) {
    INGOT_ASSIGN_OR_RETURN(kv_bytes_, backend_.Allocate(blocks * kv_.layout.block_bytes));
    INGOT_ASSIGN_OR_RETURN(tail_bytes_, backend_.Allocate(kv_.layout.tail_bytes));
    kv_.data = kv_bytes_.data();
    kv_.tails = tail_bytes_.data();
    kv_.num_blocks = blocks;
  }
  const ops::StepLimits limits{.max_tokens = num_tokens, .max_seqs = 1, .max_context = num_tokens};
  ScratchCount count;
  TakeActivations(spec_, {num_tokens, num_logits, backend_.activation_dtype()}, count);
  count.Take(DType::kF32, {num_logits, spec_.vocab_size});
  const int64_t bytes = count.bytes() + backend_.StepBytes(limits, {&kv_.layout, 1}) +
                        std::max(backend_.AttentionBytes(limits, kv_.layout), product_bytes) + 64;
  if (bytes > scratch_.size()) {
    INGOT_ASSIGN_OR_RETURN(scratch_, ops::Scratch::Allocate(backend_, bytes));
  }
  positions_.resize(static_cast<size_t>(num_tokens));
  std::iota(positions_.begin(), positions_.end(), 0);
  kv_slots_ = positions_;
  block_table_.resize(static_cast<size_t>(blocks));
  std::iota(block_table_.begin(), block_table_.end(), 0);
  cu_seqlens_ = {0, static_cast<int32_t>(num_tokens)};
  tail_slots_ = {0};
  logits_rows_.resize(static_cast<size_t>(num_logits));
  std::iota(logits_rows_.begin(), logits_rows_.end(), static_cast<int32_t>(logits.begin));
  group_ = {.block_tables = block_table_, .block_table_stride = blocks, .kv_slots = kv_slots_};
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

Result<HiddenStates> LayerRunner::Embed(std::span<const int32_t> token_ids, const ops::PackedWeight& table) {
  const int64_t num_tokens = std::ssize(token_ids);
  INGOT_RETURN_IF_ERROR(Prepare(num_tokens, {0, 0}, 0));
  const ops::Scratch::Mark mark(scratch_);
  batch_.token_ids = token_ids;
  const DecoderLayers::Step step = layers_->Begin(context_, batch_, {&kv_, 1});
  ops::Embed(context_, step.batch, table, spec_.embedding_scale, step.a.hidden);
  return Download(step.a.hidden);
}

Status LayerRunner::Run(int layer, const LayerWeights& weights, HiddenStates* hidden, const LinearTap* tap) {
  const int64_t num_tokens = TokensOf(*hidden);
  INGOT_RETURN_IF_ERROR(Prepare(num_tokens, {0, 0}, LinearBytes(backend_, weights, num_tokens)));
  const ops::Scratch::Mark mark(scratch_);
  kv_.layout.window = spec_.layers[static_cast<size_t>(layer)].window;
  DecoderLayers::Step step = layers_->Begin(context_, batch_, {&kv_, 1});
  step.tap = tap;
  backend_.Upload(step.a.hidden.Data<std::byte>(), hidden->data(), step.a.hidden.bytes());
  layers_->Run(step, layer, weights, {});
  *hidden = Download(step.a.hidden);
  return Status();
}

Status LayerRunner::Logits(const HiddenStates& hidden, const Head& head, Positions positions,
                           std::vector<float>* logits) {
  const int64_t num_tokens = TokensOf(hidden), rows = positions.end - positions.begin;
  INGOT_CHECK(positions.begin >= 0 && rows > 0 && positions.end <= num_tokens);
  INGOT_RETURN_IF_ERROR(Prepare(num_tokens, positions, backend_.LinearBytes(rows, {&head.weight, 1})));
  const ops::Scratch::Mark mark(scratch_);
  const DecoderLayers::Step step = layers_->Begin(context_, batch_, {&kv_, 1});
  backend_.Upload(step.a.hidden.Data<std::byte>(), hidden.data(), step.a.hidden.bytes());
  const TensorView out = scratch_.Take(DType::kF32, {rows, spec_.vocab_size});
  layers_->Logits(step, head.final_norm, head.weight, out);
  *logits = Download(out);
  return Status();
}

std::vector<float> LayerRunner::Download(const TensorView& x) {
  std::vector<float> values(static_cast<size_t>(x.shape.NumElements()));
  backend_.Download(values.data(), x.Data<std::byte>(), x.bytes());
  return values;
}

}  // namespace ingot::models
