// The KV cache and attention: a step is cut into items for the kernels once, for all layers.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "ops/cpu/backend.h"
#include "ops/cpu/kv_tiles.h"
#include "ops/cpu/step_tiles.h"

namespace ingot::ops {
namespace {

using kernels::AttentionArgs;
using kernels::AttentionItem;
using kernels::AttentionWorkspaceFloats;
using kernels::kMaxRows;
using kernels::kSplit;
using kernels::PartialFloats;

// Partial results of split-K may take this much; beyond, tiles run whole. 64 decoding sequences of 8192 positions with
// 32 heads of 128 need 19 MB, but then there is work enough for every thread without splits.
constexpr int64_t kMaxPartialBytes = int64_t{16} << 20;
// Items per thread that even out their unequal cost.
constexpr int64_t kItemsPerThread = 8;

kernels::KvLayer LayerOf(const KvView& kv, int layer) {
  const KvLayout& layout = kv.layout;
  const KvTiles tiles(layout);
  return {.data = kv.data + layer * tiles.layer_bytes,
          .block_stride = layout.block_bytes,
          .key_tile_bytes = tiles.key_bytes,
          .value_tile_bytes = tiles.value_bytes,
          .block_len = layout.block_len,
          .head_dim = layout.head_dim,
          .format = layout.format};
}

kernels::OpenTiles OpenTilesOf(const KvView& kv, int layer, const StepTiles& tiles) {
  if (kv.layout.format != KvFormat::kI4) return {};
  return {.tails = kv.tails + layer * KvTiles(kv.layout).open_bytes,
          .passing = tiles.passing,
          .tail_stride = kv.layout.tail_bytes,
          .index = tiles.index.data()};
}

// How the (token, head) rows of a batch are cut into tiles of at most kMaxRows.
struct Tiling {
  int heads_per_tile;  // of those that share a KV head
  int tokens_per_tile;
  int tiles_per_kv_head;  // head tiles of a KV head

  explicit Tiling(int heads_per_kv_head)
      : heads_per_tile(std::min(heads_per_kv_head, kMaxRows)),
        tokens_per_tile(std::max(1, kMaxRows / heads_per_tile)),
        tiles_per_kv_head((heads_per_kv_head + heads_per_tile - 1) / heads_per_tile) {}
};

// The work of a group's layers: `items` for attend, `merges` for the tiles whose splits are items of their own.
struct GroupMetadata {
  const KvGroupBatch* where;
  AttentionItem* items;
  AttentionItem* merges;
  int64_t partial_floats;  // for the partial results of splits
  int64_t num_items = 0, num_merges = 0;
};

// Step::metadata on the CPU.
struct StepMetadata {
  const StepBatch* batch;
  StepTiles tiles;
  GroupMetadata* groups;  // [kv groups]
};
const StepMetadata& MetadataOf(const Step& step) { return *static_cast<const StepMetadata*>(step.metadata); }

// Partial results that are still to be given to splits.
struct Partials {
  float* next;
  int64_t left;  // floats
};

// A group's part of a batch, to be cut into tiles.
struct Cutting {
  const StepBatch& batch;
  const KvLayout& layout;
  Tiling tiling;
};

// Where the tile of tokens begins that ends before token `end` of the sequence that begins at token `begin`. With an
// int4 cache it does not cross into another tile of positions, which would be read in another form.
int32_t TileBegin(const Cutting& cut, int32_t begin, int32_t end) {
  const int32_t last = end - 1, tokens = cut.tiling.tokens_per_tile;
  if (cut.layout.format == KvFormat::kI4) {
    begin = std::max(begin, last - cut.batch.positions[static_cast<size_t>(last)] % kKvTile);
  }
  return begin + (last - begin) / tokens * tokens;
}

int64_t CountTiles(const Cutting& cut) {
  int64_t tiles = 0;
  for (size_t s = 0; s + 1 < cut.batch.cu_seqlens.size(); ++s) {
    const int32_t begin = cut.batch.cu_seqlens[s];
    for (int32_t end = cut.batch.cu_seqlens[s + 1]; end > begin; ++tiles) end = TileBegin(cut, begin, end);
  }
  return tiles * cut.tiling.tiles_per_kv_head * cut.layout.num_kv_heads;
}

// Splits that the tile's tokens see.
void SetSplits(const Cutting& cut, AttentionItem* tile) {
  const int32_t first = cut.batch.positions[static_cast<size_t>(tile->token_begin)];
  const int32_t last = first + tile->num_tokens - 1;
  const int32_t begin = cut.layout.window > 0 ? std::max(0, first - cut.layout.window + 1) : 0;
  tile->split_begin = begin / kSplit;
  tile->split_end = last / kSplit + 1;
}

void AddTile(const AttentionItem& tile, bool want_splits, int head_dim, Partials* partials, GroupMetadata* group) {
  const int64_t splits = tile.split_end - tile.split_begin;
  const int64_t split_floats = int64_t{tile.num_tokens} * tile.num_heads * PartialFloats(head_dim);
  if (!want_splits || splits <= 1 || splits * split_floats > partials->left) {
    group->items[group->num_items++] = tile;
    return;
  }
  AttentionItem whole = tile;
  whole.partial = partials->next;
  group->merges[group->num_merges++] = whole;
  for (int32_t split = tile.split_begin; split < tile.split_end; ++split) {
    AttentionItem part = tile;
    part.split_begin = split;
    part.split_end = split + 1;
    part.partial = partials->next;
    group->items[group->num_items++] = part;
    partials->next += split_floats;
  }
  partials->left -= splits * split_floats;
}

// Late tokens see the most: they come first, so that what is left at the end is small.
void AddTiles(const Cutting& cut, bool few_tiles, Partials partials, GroupMetadata* group) {
  const KvLayout& layout = cut.layout;
  const int heads_per_kv_head = layout.num_heads / layout.num_kv_heads;
  for (size_t s = 0; s + 1 < cut.batch.cu_seqlens.size(); ++s) {
    const int32_t begin = cut.batch.cu_seqlens[s];
    const int32_t tokens = cut.batch.cu_seqlens[s + 1] - begin;
    const bool want_splits = few_tiles || tokens <= 4;  // decoding: unequal lengths side by side
    for (int32_t end = begin + tokens, next; end > begin; end = next) {
      next = TileBegin(cut, begin, end);
      for (int kv_head = 0; kv_head < layout.num_kv_heads; ++kv_head) {
        for (int head = 0; head < heads_per_kv_head; head += cut.tiling.heads_per_tile) {
          AttentionItem item{};
          item.seq = static_cast<int32_t>(s);
          item.kv_head = kv_head;
          item.head_begin = kv_head * heads_per_kv_head + head;
          item.num_heads = std::min(cut.tiling.heads_per_tile, heads_per_kv_head - head);
          item.token_begin = next;
          item.num_tokens = end - next;
          SetSplits(cut, &item);
          AddTile(item, want_splits, layout.head_dim, &partials, group);
        }
      }
    }
  }
}

// kI4: the beginning of a tile that the step fills and leaves, out of the sequence's tail, before that is written to.
void CarryTiles(ThreadPool& pool, const kernels::OpenTiles& open, const StepTiles& tiles, int64_t tile_bytes) {
  pool.ParallelFor(std::ssize(tiles.carried), [&](int64_t i) {
    const auto [slot, tile] = tiles.carried[static_cast<size_t>(i)];
    std::memcpy(open.passing + tile * tile_bytes, open.tails + slot * open.tail_stride,
                static_cast<size_t>(tile_bytes));
  });
}

// kI4: what is full goes into the cache.
using CloseTile = void (*)(const std::byte* open, int head_dim, std::byte* keys, std::byte* values);
void CloseTiles(ThreadPool& pool, CloseTile close_tile, const kernels::KvWriteParams& write,
                std::span<const int32_t> closing) {
  const kernels::KvLayer& kv = write.kv;
  const int64_t heads = write.num_kv_heads, head_bytes = int64_t{kernels::kKvTile} * kv.head_dim * 2 * 2;
  const int64_t tiles = kv.block_len / kernels::kKvTile;
  pool.ParallelFor(std::ssize(closing) * heads, [&](int64_t i) {
    const int32_t token = closing[static_cast<size_t>(i / heads)], index = write.open.index[token];
    const int64_t head = i % heads, slot = write.kv_slots[token], tile = slot % kv.block_len / kernels::kKvTile;
    const std::byte* open = index >= 0 ? write.open.passing + index * heads * head_bytes
                                       : write.open.tails + ~index * write.open.tail_stride;
    std::byte* cached =
        kv.data + slot / kv.block_len * kv.block_stride + head * tiles * (kv.key_tile_bytes + kv.value_tile_bytes);
    close_tile(open + head * head_bytes, kv.head_dim, cached + tile * kv.key_tile_bytes,
               cached + tiles * kv.key_tile_bytes + tile * kv.value_tile_bytes);
  });
}

int64_t MaxSplits(int64_t max_context) { return (max_context + kSplit - 1) / kSplit; }

// Floats of the partial results of a step of `tokens` tokens.
int64_t PartialBudget(const KvShape& shape, int64_t tokens, int64_t max_context) {
  constexpr int64_t kMost = kMaxPartialBytes / static_cast<int64_t>(sizeof(float));
  return std::min(kMost, tokens * shape.num_heads * MaxSplits(max_context) * PartialFloats(shape.head_dim));
}

int64_t WorkspaceFloats(int head_dim) { return (AttentionWorkspaceFloats(head_dim) + 15) / 16 * 16; }

}  // namespace

KvLayout CpuKvLayout(const KvShape& shape) {
  const KvTiles tiles(shape);
  return {shape, tiles.layer_bytes * shape.num_layers, tiles.open_bytes * shape.num_layers};
}

KvLayout CpuBackend::LayoutOf(const KvShape& shape) const { return CpuKvLayout(shape); }

int64_t CpuBackend::StepBytes(const StepLimits& limits, std::span<const KvLayout> groups) const {
  int64_t partials = 0,
          bytes = 4 * 64 + static_cast<int64_t>(sizeof(StepMetadata) + groups.size() * sizeof(GroupMetadata));
  for (const KvLayout& layout : groups) {
    const int64_t partial = PartialBudget(layout, limits.max_tokens, limits.max_context);
    // A tile has at least a row, a split item at least one partial row.
    const int64_t items = 2 * limits.max_tokens * layout.num_heads + partial / PartialFloats(layout.head_dim);
    bytes += items * static_cast<int64_t>(sizeof(AttentionItem)) + 2 * 64;
    partials = std::max(partials, partial);
  }
  return bytes + partials * static_cast<int64_t>(sizeof(float)) + StepTilesBytes(groups[0], limits) +
         PassingBytes(groups[0], limits.max_tokens, limits.max_seqs) + 64;
}

int64_t CpuBackend::AttentionBytes(const StepLimits&, const KvLayout& group) const {
  return pool_.num_threads() * WorkspaceFloats(group.head_dim) * static_cast<int64_t>(sizeof(float)) + 64;
}

Step CpuBackend::BeginStep(const Context& context, const StepBatch& batch, std::span<const KvView> kv) {
  Scratch& scratch = *context.scratch;
  auto* const metadata = scratch.Take<StepMetadata>(1);
  const auto take = [&](int64_t bytes) { return scratch.Take<std::byte>(bytes); };
  *metadata = {.batch = &batch,
               .tiles = PlanStepTiles(take, kv[0].layout, batch),
               .groups = scratch.Take<GroupMetadata>(std::ssize(kv))};
  metadata->tiles.passing = take(PassingBytes(kv[0].layout, batch.num_tokens(), batch.num_seqs()));
  // Groups are computed one after another, so they share the memory of partial results.
  int64_t budget = 0;
  for (size_t g = 0; g < kv.size(); ++g) {
    metadata->groups[g].partial_floats = PartialBudget(kv[g].layout, batch.num_tokens(), batch.max_context);
    budget = std::max(budget, metadata->groups[g].partial_floats);
  }
  float* const partials = scratch.Take<float>(budget);
  for (size_t g = 0; g < kv.size(); ++g) {
    const KvLayout& layout = kv[g].layout;
    const Cutting cut{batch, layout, Tiling(layout.num_heads / layout.num_kv_heads)};
    GroupMetadata& group = metadata->groups[g];
    const int64_t tiles = CountTiles(cut), left = group.partial_floats;
    group = {.where = &batch.groups[g],
             .items = scratch.Take<AttentionItem>(tiles + left / PartialFloats(layout.head_dim)),
             .merges = scratch.Take<AttentionItem>(tiles),
             .partial_floats = left};
    AddTiles(cut, tiles < kItemsPerThread * pool_.num_threads(), {partials, left}, &group);
  }
  const auto view = [](std::span<const int32_t> values) {
    return TensorView{const_cast<int32_t*>(values.data()), DType::kI32, {std::ssize(values)}, {}};
  };
  return {.num_tokens = batch.num_tokens(),
          .token_ids = view(batch.token_ids),
          .drawn_tokens = batch.drawn_tokens,
          .positions = view(batch.positions),
          .logits_rows = view(batch.logits_rows),
          .kv = kv,
          .metadata = metadata};
}

void CpuBackend::RopeKvWrite(const Context&, const Step& step, const RopeKvWriteParams& params) {
  const StepMetadata& metadata = MetadataOf(step);
  const auto g = static_cast<size_t>(params.place.group);
  const KvView& kv = step.kv[g];
  const int64_t q_dim = int64_t{kv.layout.num_heads} * kv.layout.head_dim;
  const int64_t kv_dim = int64_t{kv.layout.num_kv_heads} * kv.layout.head_dim;
  auto* const qkv = params.qkv.Data<float>();
  const kernels::KvWriteParams write = {
      .q = qkv,
      .k = qkv + q_dim,
      .v = qkv + q_dim + kv_dim,
      .stride = q_dim + 2 * kv_dim,
      .num_heads = kv.layout.num_heads,
      .num_kv_heads = kv.layout.num_kv_heads,
      .cos = params.cos.Data<float>(),
      .sin = params.sin.Data<float>(),
      .rotary_dim = params.cos.empty() ? 0 : 2 * static_cast<int>(params.cos.shape[1]),
      .q_norm = params.q_norm.Data<float>(),
      .k_norm = params.k_norm.Data<float>(),
      .norm_eps = params.norm_eps,
      .kv_slots = metadata.groups[g].where->kv_slots.data(),
      .kv = LayerOf(kv, params.place.layer),
      .open = OpenTilesOf(kv, params.place.layer, metadata.tiles)};
  CarryTiles(pool_, write.open, metadata.tiles, KvTiles(kv.layout).open_bytes);
  const int64_t token_elements = int64_t{write.num_heads + 4 * write.num_kv_heads} * kv.layout.head_dim;
  int64_t tokens_per_part = std::max<int64_t>(1, 16384 / token_elements);
  // Keys of 32 positions share cache lines, which threads should not take from each other.
  if (step.num_tokens >= kKvTile * metadata.batch->num_seqs()) {
    tokens_per_part = (tokens_per_part + kKvTile - 1) / kKvTile * kKvTile;
  }
  pool_.ParallelFor((step.num_tokens + tokens_per_part - 1) / tokens_per_part, [&](int64_t part) {
    kernels_.attention.kv_write(write, part * tokens_per_part, std::min(step.num_tokens, (part + 1) * tokens_per_part));
  });
  CloseTiles(pool_, kernels_.attention.close_tile, write, metadata.tiles.closing);
}

void CpuBackend::Attention(const Context& context, const Step& step, const AttentionParams& params) {
  const StepMetadata& metadata = MetadataOf(step);
  const auto g = static_cast<size_t>(params.place.group);
  const GroupMetadata& group = metadata.groups[g];
  const KvView& kv = step.kv[g];
  const kernels::AttentionArgs args = {.q = params.qkv.Data<float>(),
                                       .q_stride = params.qkv.shape[1],
                                       .out = params.out.Data<float>(),
                                       .num_heads = kv.layout.num_heads,
                                       .heads_per_kv_head = kv.layout.num_heads / kv.layout.num_kv_heads,
                                       .positions = metadata.batch->positions.data(),
                                       .block_tables = group.where->block_tables.data(),
                                       .block_table_stride = group.where->block_table_stride,
                                       .kv = LayerOf(kv, params.place.layer),
                                       .open = OpenTilesOf(kv, params.place.layer, metadata.tiles),
                                       .scale = params.scale,
                                       .softcap = params.softcap,
                                       .window = kv.layout.window};
  const Scratch::Mark mark(*context.scratch);
  const int64_t workspace_floats = WorkspaceFloats(kv.layout.head_dim);
  float* const workspaces = context.scratch->Take<float>(pool_.num_threads() * workspace_floats);
  const bool on_tiles = context.compute == Compute::kFast && kernels_.attention.attend_on_tiles != nullptr;
  const auto attend = on_tiles ? kernels_.attention.attend_on_tiles : kernels_.attention.attend;
  pool_.ParallelForWorker(group.num_items, [&](int64_t i, int worker) {
    attend(args, group.items[i], workspaces + worker * workspace_floats);
  });
  pool_.ParallelForWorker(group.num_merges, [&](int64_t i, int worker) {
    kernels_.attention.merge(args, group.merges[i], workspaces + worker * workspace_floats);
  });
}

}  // namespace ingot::ops
