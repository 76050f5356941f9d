// The KV cache and attention: what a step needs to know of its tokens is worked out on the host once, for all layers.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "ops/cpu/kv_tiles.h"
#include "ops/cuda/launch.h"

namespace ingot::ops {
namespace {

using kernels::kSplit;
using kernels::cuda::KernelId;

// Splits serve where rows are few; beyond so many tokens, or so much memory for partial results, there are rows enough
// without. 64 decoding sequences of 8192 positions with 32 heads of 128 need 17 MB.
constexpr int64_t kMaxSplitTokens = 256;
constexpr int64_t kMaxPartialBytes = int64_t{64} << 20;
constexpr int64_t kAlign = 64;

int64_t RoundUp(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
int64_t IdBytes(int64_t count) { return RoundUp(count * static_cast<int64_t>(sizeof(int32_t))); }

// 0 where one split covers the context, or all rows are computed whole.
int64_t PartialBytes(const KvLayout& layout, int64_t num_tokens, int64_t max_context) {
  const int64_t splits = (max_context + kSplit - 1) / kSplit;
  if (splits <= 1 || num_tokens > kMaxSplitTokens) return 0;
  const int64_t bytes = num_tokens * layout.num_heads * splits * (layout.head_dim + 2) * int64_t{sizeof(float)};
  return bytes <= kMaxPartialBytes ? bytes : 0;
}

KernelId AttendKernel(KvFormat format, bool half) {
  switch (format) {
    case KvFormat::kF16:
      return half ? KernelId::attend_f16_half : KernelId::attend_f16_bfloat16;
    case KvFormat::kBF16:
      return half ? KernelId::attend_bf16_half : KernelId::attend_bf16_bfloat16;
    case KvFormat::kF32:
      return half ? KernelId::attend_f32_half : KernelId::attend_f32_bfloat16;
    case KvFormat::kI8:
      return half ? KernelId::attend_i8_half : KernelId::attend_i8_bfloat16;
    case KvFormat::kI4:
      return half ? KernelId::attend_i4_half : KernelId::attend_i4_bfloat16;
  }
  INGOT_CHECK(false);
}

}  // namespace

// A bump allocator over memory of the host, and where each piece will be on the device.
class CudaBackend::Staging {
 public:
  Staging(std::vector<std::byte>& host, std::byte* device, int64_t bytes) : host_(host), device_(device) {
    if (std::ssize(host) < bytes) host.resize(static_cast<size_t>(bytes));
  }
  std::byte* Take(int64_t bytes) {
    std::byte* const piece = host_.data() + used_;
    used_ += RoundUp(bytes);
    INGOT_CHECK(used_ <= std::ssize(host_));
    return piece;
  }
  const int32_t* OnDevice(const void* piece) const {
    return reinterpret_cast<const int32_t*>(device_ + (static_cast<const std::byte*>(piece) - host_.data()));
  }
  const int32_t* Add(std::span<const int32_t> ids) {
    std::byte* const piece = Take(std::ssize(ids) * static_cast<int64_t>(sizeof(int32_t)));
    std::memcpy(piece, ids.data(), ids.size_bytes());
    return OnDevice(piece);
  }
  int64_t used() const { return used_; }

 private:
  std::vector<std::byte>& host_;
  std::byte* const device_;
  int64_t used_ = 0;
};

KvLayout CudaBackend::LayoutOf(const KvShape& shape) const {
  INGOT_CHECK(shape.head_dim <= kernels::cuda::kMaxHeadDim);
  return CpuKvLayout(shape);
}

int64_t CudaBackend::StepBytes(const StepLimits& limits, std::span<const KvLayout> groups) const {
  const int64_t tokens = limits.max_tokens, seqs = std::min(limits.max_seqs, tokens);
  int64_t bytes = 4 * IdBytes(tokens);  // ids, positions, sequences, rows of logits
  for (const KvLayout& layout : groups) {
    const int64_t blocks = (limits.max_context + layout.block_len - 1) / layout.block_len;
    bytes += IdBytes(tokens) + IdBytes(seqs * blocks);
  }
  return bytes + RoundUp(StepTilesBytes(groups[0], limits)) + RoundUp(PassingBytes(groups[0], tokens, seqs));
}

int64_t CudaBackend::AttentionBytes(const StepLimits& limits, const KvLayout& group) const {
  const int64_t splits = (limits.max_context + kSplit - 1) / kSplit;
  const int64_t row_bytes = group.num_heads * splits * (group.head_dim + 2) * int64_t{sizeof(float)};
  return splits <= 1 ? 0
                     : RoundUp(std::min(std::min(limits.max_tokens, kMaxSplitTokens) * row_bytes, kMaxPartialBytes));
}

void CudaBackend::PlanTiles(const Context& context, const StepBatch& batch, const KvLayout& layout, Staging* staging) {
  plan_.tiles = PlanStepTiles([&](int64_t bytes) { return staging->Take(bytes); }, layout, batch);
  if (layout.format != KvFormat::kI4) return;
  plan_.tiles.passing = context.scratch->Take<std::byte>(PassingBytes(layout, batch.num_tokens(), batch.num_seqs()));
  plan_.tile_index = staging->OnDevice(plan_.tiles.index.data());
  plan_.closing = staging->OnDevice(plan_.tiles.closing.data());
  plan_.carried = staging->OnDevice(plan_.tiles.carried.data());
}

Step CudaBackend::BeginStep(const Context& context, const StepBatch& batch, std::span<const KvView> kv) {
  const int64_t tokens = batch.num_tokens();
  const StepLimits limits{tokens, batch.num_seqs(), batch.max_context};
  int64_t bytes = 4 * IdBytes(tokens) + RoundUp(StepTilesBytes(kv[0].layout, limits));
  for (const KvGroupBatch& group : batch.groups) {
    bytes += IdBytes(tokens) + IdBytes(batch.num_seqs() * group.block_table_stride);
  }
  auto* const memory = context.scratch->Take<std::byte>(bytes);
  Staging staging(staging_, memory, bytes);
  const int32_t* const token_ids = staging.Add(batch.token_ids);
  const int32_t* const positions = staging.Add(batch.positions);
  const int32_t* const logits_rows = staging.Add(batch.logits_rows);
  auto* const seq_of = reinterpret_cast<int32_t*>(staging.Take(IdBytes(tokens)));
  for (size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
    std::fill(seq_of + batch.cu_seqlens[s], seq_of + batch.cu_seqlens[s + 1], static_cast<int32_t>(s));
  }
  plan_.seq_of = staging.OnDevice(seq_of);
  plan_.max_context = batch.max_context;
  plan_.groups.clear();
  for (const KvGroupBatch& group : batch.groups) {
    const auto tables = group.block_tables.first(static_cast<size_t>(batch.num_seqs() * group.block_table_stride));
    plan_.groups.push_back({.block_tables = staging.Add(tables),
                            .block_table_stride = group.block_table_stride,
                            .slots = staging.Add(group.slots)});
  }
  PlanTiles(context, batch, kv[0].layout, &staging);
  Upload(memory, staging_.data(), staging.used());
  const auto view = [this](const int32_t* ids, int64_t count) {
    return TensorView{const_cast<int32_t*>(ids), DType::kI32, {count}, device()};
  };
  return {.num_tokens = tokens,
          .token_ids = view(token_ids, tokens),
          .drawn_tokens = batch.drawn_tokens,
          .positions = view(positions, tokens),
          .logits_rows = view(logits_rows, std::ssize(batch.logits_rows)),
          .kv = kv,
          .plan = &plan_};
}

kernels::KvLayer CudaBackend::LayerOf(const KvView& kv, int layer) const {
  const KvTiles tiles(kv.layout);
  return {.data = kv.data + layer * tiles.layer_bytes,
          .block_stride = kv.layout.block_bytes,
          .key_tile_bytes = tiles.key_bytes,
          .value_tile_bytes = tiles.value_bytes,
          .block_len = kv.layout.block_len,
          .head_dim = kv.layout.head_dim,
          .format = kv.layout.format};
}

kernels::OpenTiles CudaBackend::OpenTilesOf(const KvView& kv, int layer) const {
  if (kv.layout.format != KvFormat::kI4) return {};
  return {.tails = kv.tails + layer * KvTiles(kv.layout).open_bytes,
          .passing = plan_.tiles.passing,
          .tail_stride = kv.layout.tail_bytes,
          .index = plan_.tile_index};
}

void CudaBackend::RopeKvWrite(const Context&, const Step& step, const RopeKvWriteParams& params) {
  const auto g = static_cast<size_t>(params.place.group);
  const KvView& kv = step.kv[g];
  const kernels::OpenTiles open = OpenTilesOf(kv, params.place.layer);
  const kernels::KvLayer layer = LayerOf(kv, params.place.layer);
  const int num_heads = kv.layout.num_heads, num_kv_heads = kv.layout.num_kv_heads;
  const int32_t* const slots = plan_.groups[g].slots;
  Launch({.kernel = KernelId::carry_tiles, .grid = {Blocks(std::ssize(plan_.tiles.carried))}},
         kernels::cuda::CarryTilesParams{
             .open = open, .carried = plan_.carried, .open_bytes = KvTiles(kv.layout).open_bytes});
  Launch({.kernel = Pick(KernelId::write_kv_half, KernelId::write_kv_bfloat16),
          .grid = {static_cast<uint32_t>(num_heads + 2 * num_kv_heads), Blocks(step.num_tokens)}},
         kernels::cuda::WriteKvParams{.qkv = params.qkv.data,
                                      .cos = params.cos.Data<float>(),
                                      .sin = params.sin.Data<float>(),
                                      .q_norm = params.q_norm.Data<float>(),
                                      .k_norm = params.k_norm.Data<float>(),
                                      .slots = slots,
                                      .kv = layer,
                                      .open = open,
                                      .num_heads = num_heads,
                                      .num_kv_heads = num_kv_heads,
                                      .rotary_dim = params.cos.empty() ? 0 : 2 * static_cast<int>(params.cos.shape[1]),
                                      .norm_eps = params.norm_eps});
  Launch({.kernel = KernelId::close_tiles,
          .grid = {Blocks(std::ssize(plan_.tiles.closing)), static_cast<uint32_t>(num_kv_heads)}},
         kernels::cuda::CloseTilesParams{
             .open = open, .kv = layer, .closing = plan_.closing, .slots = slots, .num_kv_heads = num_kv_heads});
}

void CudaBackend::Attention(const Context& context, const Step& step, const AttentionParams& params) {
  const auto g = static_cast<size_t>(params.place.group);
  const KvView& kv = step.kv[g];
  const Scratch::Mark mark(*context.scratch);
  const int64_t partial_bytes = PartialBytes(kv.layout, step.num_tokens, plan_.max_context);
  const auto num_splits = static_cast<int>((plan_.max_context + kSplit - 1) / kSplit);
  const auto heads = static_cast<uint32_t>(kv.layout.num_heads);
  const kernels::cuda::AttendParams attend = {
      .qkv = params.qkv.data,
      .q_stride = params.qkv.shape[1],
      .out = params.out.data,
      .positions = step.positions.Data<int32_t>(),
      .seq_of = plan_.seq_of,
      .block_tables = plan_.groups[g].block_tables,
      .block_table_stride = plan_.groups[g].block_table_stride,
      .kv = LayerOf(kv, params.place.layer),
      .open = OpenTilesOf(kv, params.place.layer),
      .partial =
          partial_bytes > 0 ? reinterpret_cast<float*>(context.scratch->Take<std::byte>(partial_bytes)) : nullptr,
      .num_heads = kv.layout.num_heads,
      .group = kv.layout.num_heads / kv.layout.num_kv_heads,
      .num_splits = num_splits,
      .scale = params.scale,
      .softcap = params.softcap,
      .window = kv.layout.window};
  const bool splits = partial_bytes > 0;
  Launch({.kernel = AttendKernel(kv.layout.format, activation_dtype_ == DType::kF16),
          .grid = {splits ? static_cast<uint32_t>(num_splits) : 1, heads, Blocks(step.num_tokens)}},
         attend);
  if (!splits) return;
  Launch({.kernel = Pick(KernelId::merge_splits_half, KernelId::merge_splits_bfloat16),
          .grid = {heads, Blocks(step.num_tokens)}},
         attend);
}

}  // namespace ingot::ops
