// The KV cache and attention: what a step needs to know of its tokens is worked out on the host once, for all layers.
#include <algorithm>
#include <bit>

#include "base/check.h"
#include "ops/cpu/kv_tiles.h"
#include "ops/cuda/launch.h"

namespace ingot::ops {
namespace {

using kernels::kSplit;
using kernels::cuda::KernelId;

// Tiles of few tokens are attended so many at a time that their partial results fit here. 64 decoding sequences of 8192
// positions with 32 heads of 128 need 17 MB.
constexpr int64_t kMaxPartialBytes = int64_t{64} << 20;
constexpr int64_t kAlign = 64;

int64_t RoundUp(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
int64_t IdBytes(int64_t count) { return RoundUp(count * static_cast<int64_t>(sizeof(int32_t))); }

// For heads of up to `dim` numbers: of a block of the first two, all positions of so many rows; of the others, one
// split of 16 rows.
struct AttendKernels {
  int dim, rows;
  KernelId half, bfloat16, split_half, split_bfloat16;
};
constexpr int kSplitRows = 16;
constexpr AttendKernels kAttendKernels[] = {
    {64, kernels::cuda::kAttendWarps<64> * 16, KernelId::attend_64_half, KernelId::attend_64_bfloat16,
     KernelId::attend_split_64_half, KernelId::attend_split_64_bfloat16},
    {80, kernels::cuda::kAttendWarps<80> * 16, KernelId::attend_80_half, KernelId::attend_80_bfloat16,
     KernelId::attend_split_80_half, KernelId::attend_split_80_bfloat16},
    {96, kernels::cuda::kAttendWarps<96> * 16, KernelId::attend_96_half, KernelId::attend_96_bfloat16,
     KernelId::attend_split_96_half, KernelId::attend_split_96_bfloat16},
    {128, kernels::cuda::kAttendWarps<128> * 16, KernelId::attend_128_half, KernelId::attend_128_bfloat16,
     KernelId::attend_split_128_half, KernelId::attend_split_128_bfloat16},
    {256, kernels::cuda::kAttendWarps<256> * 16, KernelId::attend_256_half, KernelId::attend_256_bfloat16,
     KernelId::attend_split_256_half, KernelId::attend_split_256_bfloat16}};
const AttendKernels& KernelsOf(int head_dim) {
  const auto* const found =
      std::ranges::find_if(kAttendKernels, [&](const AttendKernels& kernels) { return head_dim <= kernels.dim; });
  INGOT_CHECK(found != std::end(kAttendKernels));
  return *found;
}

// The most tokens of a tile, and the most heads of a KV head that a block does, with so many rows to a block.
struct TileShape {
  int tokens, heads;
};
TileShape ShapeOf(const KvLayout& layout, int rows) {
  const int heads = std::min(rows, layout.num_heads / layout.num_kv_heads);
  return {rows / heads, heads};
}
// Blocks for all heads.
uint32_t PiecesOfHeads(const KvLayout& layout, int heads) {
  return static_cast<uint32_t>(layout.num_kv_heads) * Blocks(layout.num_heads / layout.num_kv_heads, heads);
}
TileShape FewShape(const KvLayout& layout) { return ShapeOf(layout, kSplitRows); }
TileShape ManyShape(const KvLayout& layout) { return ShapeOf(layout, KernelsOf(layout.head_dim).rows); }

// A power of two, so that decodes seldom come to other grids (ops/cuda/graphs.h); what is too many ends at once.
int64_t NumSplits(int64_t context) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>((context + kSplit - 1) / kSplit)));
}
// 0 where one split covers the context.
int64_t PartialBytesOfTile(const KvLayout& layout, int64_t splits) {
  if (splits <= 1) return 0;
  return FewShape(layout).tokens * layout.num_heads * splits * (layout.head_dim + 2) * int64_t{sizeof(float)};
}
// How many such tiles are attended at a time.
int64_t TilesAtATime(const KvLayout& layout, int64_t num_tiles, int64_t splits) {
  const int64_t bytes = PartialBytesOfTile(layout, splits);
  return bytes == 0 ? num_tiles : std::min(num_tiles, std::max(kMaxPartialBytes / bytes, int64_t{1}));
}

// Calls add(tile, is_few) for the tiles of a batch, in order: sequences of few tokens have few-token tiles, and those
// that only fill up the batch an empty one.
template <typename Add>
void ForEachTile(const KvLayout& layout, const StepBatch& batch, const KvGroupBatch& group, Add add) {
  const int few_tokens = FewShape(layout).tokens, many_tokens = ManyShape(layout).tokens;
  for (int32_t s = 0; s < batch.num_seqs(); ++s) {
    const auto seq = static_cast<size_t>(s);
    const int32_t end = batch.cu_seqlens[seq + 1];
    const bool few = end - batch.cu_seqlens[seq] <= few_tokens;
    for (int32_t token = batch.cu_seqlens[seq]; token < end;) {
      int32_t count = std::min(end - token, few ? few_tokens : many_tokens);
      if (layout.format == KvFormat::kI4) {
        count = std::min(count, kKvTile - batch.positions[static_cast<size_t>(token)] % kKvTile);
      }
      const bool is_empty = group.kv_slots[static_cast<size_t>(token)] == kNoSlot;
      add(kernels::cuda::QueryTile{.seq = s, .first_token = token, .num_tokens = is_empty ? 0 : count}, few);
      token += count;
    }
  }
}
// Edits have the same room in every step, so that what comes after them has the same place.
int64_t DrawBytes(int64_t num_draws) {
  if (num_draws == 0) return 0;
  return RoundUp(num_draws * static_cast<int64_t>(sizeof(DrawRow))) +
         RoundUp(kMaxLogitEdits * static_cast<int64_t>(sizeof(LogitEdit)));
}
int64_t QueryTileBytes(int64_t num_tokens) {
  return RoundUp(num_tokens * static_cast<int64_t>(sizeof(kernels::cuda::QueryTile)));
}

}  // namespace

// A bump allocator over memory of the host, and where each piece will be on the device.
class CudaBackend::Staging {
 public:
  Staging(Buffer& host, std::byte* device) : host_(host), device_(device) {}
  std::byte* Take(int64_t bytes) {
    std::byte* const piece = host_.data() + used_;
    used_ += RoundUp(bytes);
    INGOT_CHECK(used_ <= host_.size());
    return piece;
  }
  template <typename T>
  const T* OnDevice(const T* piece) const {
    return reinterpret_cast<const T*>(device_ + (reinterpret_cast<const std::byte*>(piece) - host_.data()));
  }
  template <typename T>
  const T* Add(std::span<const T> numbers) {
    auto* const piece = reinterpret_cast<T*>(Take(std::ssize(numbers) * static_cast<int64_t>(sizeof(T))));
    std::ranges::copy(numbers, piece);
    return OnDevice(piece);
  }
  int64_t used() const { return used_; }

 private:
  Buffer& host_;
  std::byte* const device_;
  int64_t used_ = 0;
};

Status CudaBackend::CheckAttention(const KvShape& shape) const {
  if (shape.head_dim <= kernels::cuda::kMaxHeadDim) return {};
  return Unsupported("head_dim {}: on CUDA there are kernels for heads of up to {}; --device cpu runs this model",
                     shape.head_dim, kernels::cuda::kMaxHeadDim);
}

KvLayout CudaBackend::LayoutOf(const KvShape& shape) const {
  INGOT_CHECK(CheckAttention(shape).ok() && shape.format != KvFormat::kF32);
  return CpuKvLayout(shape);
}

int64_t CudaBackend::StepBytes(const StepLimits& limits, std::span<const KvLayout> groups) const {
  const int64_t tokens = limits.max_tokens, seqs = std::min(limits.max_seqs, tokens);
  int64_t bytes = 3 * IdBytes(tokens) + DrawBytes(limits.max_draws);  // ids, positions, rows of logits
  for (const KvLayout& layout : groups) {
    const int64_t blocks = (limits.max_context + layout.block_len - 1) / layout.block_len;
    bytes += IdBytes(tokens) + IdBytes(seqs * blocks) + QueryTileBytes(tokens);
  }
  return bytes + RoundUp(StepTilesBytes(groups[0], limits)) + RoundUp(PassingBytes(groups[0], tokens, seqs));
}

int64_t CudaBackend::AttentionBytes(const StepLimits& limits, const KvLayout& group) const {
  const int64_t bytes = PartialBytesOfTile(group, NumSplits(limits.max_context));
  return RoundUp(std::min(limits.max_tokens * bytes, std::max(kMaxPartialBytes, bytes)));
}

void CudaBackend::PlanTiles(const Context& context, const StepBatch& batch, const KvLayout& layout, Staging* staging) {
  metadata_.tiles = PlanStepTiles([&](int64_t bytes) { return staging->Take(bytes); }, layout, batch);
  if (layout.format != KvFormat::kI4) return;
  metadata_.tiles.passing =
      context.scratch->Take<std::byte>(PassingBytes(layout, batch.num_tokens(), batch.num_seqs()));
  metadata_.tile_index = staging->OnDevice(metadata_.tiles.index.data());
  metadata_.carried = reinterpret_cast<const int32_t*>(staging->OnDevice(metadata_.tiles.carried.data()));
  std::span<int32_t>& closing = metadata_.tiles.closing;
  if (batch.is_padded) {  // as many as there could be
    const size_t known = closing.size();
    closing = {closing.data(), batch.positions.size()};
    std::ranges::fill(closing.subspan(known), -1);
  }
  metadata_.closing = staging->OnDevice(closing.data());
}

Status CudaBackend::ReserveStaging(int64_t bytes) {
  for (StagingMemory& memory : staging_) {
    if (memory.pinned.size() >= bytes) continue;
    if (memory.mark > 0) driver().WaitFor(memory.mark);
    INGOT_ASSIGN_OR_RETURN(memory.pinned, driver_->AllocatePinned(bytes));
  }
  return {};
}

Status CudaBackend::ReserveStep(const StepLimits& limits, std::span<const KvLayout> groups) {
  return ReserveStaging(StepBytes(limits, groups));
}

// Tiles of few tokens from the beginning, others from the end.
CudaBackend::GroupMetadata CudaBackend::StageGroup(const StepBatch& batch, size_t g, const KvLayout& layout,
                                                   Staging* staging) {
  const KvGroupBatch& group = batch.groups[g];
  const int64_t tokens = batch.num_tokens();
  const auto tables = group.block_tables.first(static_cast<size_t>(batch.num_seqs() * group.block_table_stride));
  auto* const tiles = reinterpret_cast<kernels::cuda::QueryTile*>(staging->Take(QueryTileBytes(tokens)));
  int64_t few = 0, many = 0;
  ForEachTile(layout, batch, group, [&](const kernels::cuda::QueryTile& tile, bool is_few) {
    tiles[is_few ? few++ : tokens - ++many] = tile;
  });
  return {.block_tables = staging->Add<int32_t>(tables),
          .block_table_stride = group.block_table_stride,
          .kv_slots = staging->Add(group.kv_slots),
          .few = {staging->OnDevice(tiles), few},
          .many = {staging->OnDevice(tiles + tokens - many), many}};
}

Step CudaBackend::BeginStep(const Context& context, const StepBatch& batch, std::span<const KvView> kv) {
  const int64_t tokens = batch.num_tokens();
  const StepLimits limits{tokens, batch.num_seqs(), batch.max_context};
  int64_t bytes =
      3 * IdBytes(tokens) + DrawBytes(std::ssize(batch.draws)) + RoundUp(StepTilesBytes(kv[0].layout, limits));
  for (const KvGroupBatch& group : batch.groups) {
    bytes += IdBytes(tokens) + IdBytes(batch.num_seqs() * group.block_table_stride) + QueryTileBytes(tokens);
  }
  auto* const memory = context.scratch->Take<std::byte>(bytes);
  EndRecording();
  INGOT_CHECK(ReserveStaging(bytes).ok());
  StagingMemory& pinned = staging_[next_staging_];
  next_staging_ = 1 - next_staging_;
  if (pinned.mark > 0) driver_->WaitFor(pinned.mark);
  Staging staging(pinned.pinned, memory);
  const int32_t* const token_ids = staging.Add(batch.token_ids);
  const int32_t* const positions = staging.Add(batch.positions);
  const int32_t* const logits_rows = staging.Add(batch.logits_rows);
  metadata_.num_splits = NumSplits(batch.max_context);
  metadata_.groups.clear();
  for (size_t g = 0; g < batch.groups.size(); ++g) {
    metadata_.groups.push_back(StageGroup(batch, g, kv[g].layout, &staging));
  }
  PlanTiles(context, batch, kv[0].layout, &staging);
  metadata_.num_draws = std::ssize(batch.draws);
  metadata_.draws = staging.Add(batch.draws);
  metadata_.edits = const_cast<LogitEdit*>(staging.Add(batch.edits));  // last: what is not used is not uploaded
  driver_->UploadLater(memory, pinned.pinned.data(), staging.used());
  pinned.mark = driver_->Mark();
  is_recording_ = batch.is_padded && use_graphs_ == Graphs::kOn;
  const auto view = [this](const int32_t* ids, int64_t count) {
    return TensorView{const_cast<int32_t*>(ids), DType::kI32, {count}, device()};
  };
  return {.num_tokens = tokens,
          .token_ids = view(token_ids, tokens),
          .drawn_tokens = batch.drawn_tokens,
          .positions = view(positions, tokens),
          .logits_rows = view(logits_rows, std::ssize(batch.logits_rows)),
          .kv = kv,
          .metadata = &metadata_};
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
          .passing = metadata_.tiles.passing,
          .tail_stride = kv.layout.tail_bytes,
          .index = metadata_.tile_index};
}

void CudaBackend::RopeKvWrite(const Context&, const Step& step, const RopeKvWriteParams& params) {
  const auto g = static_cast<size_t>(params.place.group);
  const KvView& kv = step.kv[g];
  const kernels::OpenTiles open = OpenTilesOf(kv, params.place.layer);
  const kernels::KvLayer layer = LayerOf(kv, params.place.layer);
  const int num_heads = kv.layout.num_heads, num_kv_heads = kv.layout.num_kv_heads;
  const int32_t* const kv_slots = metadata_.groups[g].kv_slots;
  Launch({.kernel = KernelId::carry_tiles, .grid = {Blocks(std::ssize(metadata_.tiles.carried))}},
         kernels::cuda::CarryTilesParams{
             .open = open, .carried = metadata_.carried, .open_bytes = KvTiles(kv.layout).open_bytes});
  Launch({.kernel = Pick(KernelId::write_kv_half, KernelId::write_kv_bfloat16),
          .grid = {static_cast<uint32_t>(num_heads + 2 * num_kv_heads), Blocks(step.num_tokens)}},
         kernels::cuda::WriteKvParams{.qkv = params.qkv.data,
                                      .cos = params.cos.Data<float>(),
                                      .sin = params.sin.Data<float>(),
                                      .q_norm = params.q_norm.Data<float>(),
                                      .k_norm = params.k_norm.Data<float>(),
                                      .kv_slots = kv_slots,
                                      .kv = layer,
                                      .open = open,
                                      .num_heads = num_heads,
                                      .num_kv_heads = num_kv_heads,
                                      .rotary_dim = params.cos.empty() ? 0 : 2 * static_cast<int>(params.cos.shape[1]),
                                      .norm_eps = params.norm_eps});
  Launch(
      {.kernel = KernelId::close_tiles,
       .grid = {Blocks(std::ssize(metadata_.tiles.closing)), static_cast<uint32_t>(num_kv_heads)}},
      kernels::cuda::CloseTilesParams{
          .open = open, .kv = layer, .closing = metadata_.closing, .kv_slots = kv_slots, .num_kv_heads = num_kv_heads});
}

// As many tiles at a time as there is memory for their partial results.
void CudaBackend::AttendInSplits(const Context& context, const QueryTiles& tiles, kernels::cuda::AttendParams attend,
                                 const KvLayout& layout) {
  const Scratch::Mark mark(*context.scratch);
  const int64_t tile_bytes = PartialBytesOfTile(layout, metadata_.num_splits);
  const int64_t at_a_time = TilesAtATime(layout, tiles.count, metadata_.num_splits);
  if (tile_bytes > 0) {
    attend.partial = reinterpret_cast<float*>(context.scratch->Take<std::byte>(at_a_time * tile_bytes));
  }
  const AttendKernels& kernels = KernelsOf(layout.head_dim);
  for (int64_t first = 0; first < tiles.count; first += at_a_time) {
    const int64_t count = std::min(at_a_time, tiles.count - first);
    attend.tiles = tiles.tiles + first;
    Launch(
        {.kernel = Pick(kernels.split_half, kernels.split_bfloat16),
         .grid = {Blocks(count), PiecesOfHeads(layout, attend.tile_heads), static_cast<uint32_t>(attend.num_splits)}},
        attend);
    if (tile_bytes == 0) continue;
    Launch({.kernel = Pick(KernelId::merge_splits_half, KernelId::merge_splits_bfloat16),
            .grid = {Blocks(count), static_cast<uint32_t>(layout.num_heads)}},
           attend);
  }
}

void CudaBackend::Attention(const Context& context, const Step& step, const AttentionParams& params) {
  const auto g = static_cast<size_t>(params.place.group);
  const KvView& kv = step.kv[g];
  const GroupMetadata& group = metadata_.groups[g];
  const TileShape few = FewShape(kv.layout), many = ManyShape(kv.layout);
  kernels::cuda::AttendParams attend = {.qkv = params.qkv.data,
                                        .q_stride = params.qkv.shape[1],
                                        .out = params.out.data,
                                        .tiles = group.many.tiles,
                                        .tile_tokens = many.tokens,
                                        .tile_heads = many.heads,
                                        .positions = step.positions.Data<int32_t>(),
                                        .block_tables = group.block_tables,
                                        .block_table_stride = group.block_table_stride,
                                        .kv = LayerOf(kv, params.place.layer),
                                        .open = OpenTilesOf(kv, params.place.layer),
                                        .partial = nullptr,
                                        .num_heads = kv.layout.num_heads,
                                        .heads_per_kv_head = kv.layout.num_heads / kv.layout.num_kv_heads,
                                        .num_splits = static_cast<int>(metadata_.num_splits),
                                        .scale = params.scale,
                                        .softcap = params.softcap,
                                        .window = kv.layout.window};
  const AttendKernels& kernels = KernelsOf(kv.layout.head_dim);
  Launch({.kernel = Pick(kernels.half, kernels.bfloat16),
          .grid = {Blocks(group.many.count), PiecesOfHeads(kv.layout, many.heads)}},
         attend);
  attend.tile_tokens = few.tokens;
  attend.tile_heads = few.heads;
  AttendInSplits(context, group.few, attend, kv.layout);
}

}  // namespace ingot::ops
