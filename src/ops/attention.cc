// RopeKvWrite and Attention: cuts the work into items for the kernels.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "ops/transformer.h"

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
  INGOT_CHECK(layer >= 0 && layer < layout.num_layers && layout.block_len % kernels::kKvTile == 0);
  return {.data = kv.data + layer * layout.layer_bytes(),
          .block_stride = layout.block_bytes(),
          .key_tile_bytes = layout.key_tile_bytes(),
          .value_tile_bytes = layout.value_tile_bytes(),
          .block_len = layout.block_len,
          .head_dim = layout.head_dim,
          .format = layout.format};
}

kernels::OpenTiles OpenTilesOf(const KvView& kv, int layer, const StepTiles* tiles) {
  if (kv.layout.format != KvFormat::kI4) return {};
  INGOT_CHECK(tiles != nullptr && kv.tails != nullptr);
  return {.tails = kv.tails + layer * kv.layout.open_tile_bytes(),
          .passing = tiles->passing,
          .tail_stride = kv.layout.tail_bytes(),
          .index = tiles->index.data()};
}

int64_t Threads(const Context& context) { return context.pool == nullptr ? 1 : context.pool->num_threads(); }

template <typename Body>
void RunItems(const Context& context, int64_t count, const Body& body) {
  if (context.pool == nullptr) {
    for (int64_t i = 0; i < count; ++i) body(i, 0);
  } else {
    context.pool->ParallelForWorker(count, body);
  }
}

// How the (token, head) rows of a batch are cut into tiles of at most kMaxRows.
struct Tiling {
  int heads_per_tile;  // of the group that shares a KV head
  int tokens_per_tile;
  int tiles_per_group;  // head tiles of a KV head

  explicit Tiling(int group)
      : heads_per_tile(std::min(group, kMaxRows)),
        tokens_per_tile(std::max(1, kMaxRows / heads_per_tile)),
        tiles_per_group((group + heads_per_tile - 1) / heads_per_tile) {}
};

// The list of work: `items` for attend, `merges` for the tiles whose splits are items of their own.
struct Plan {
  AttentionItem* items;
  AttentionItem* merges;
  int64_t num_items = 0, num_merges = 0;
  float* partial;
  int64_t partial_left;  // floats
};

// Where the tile of tokens begins that ends before token `end` of the sequence that begins at token `begin`. With an
// int4 cache it does not cross into another tile of positions, which would be read in another form.
int32_t TileBegin(const AttentionParams& params, const Tiling& tiling, int32_t begin, int32_t end) {
  const int32_t last = end - 1;
  if (params.kv.layout.format == KvFormat::kI4) {
    begin = std::max(begin, last - params.positions[last] % kernels::kKvTile);
  }
  return begin + (last - begin) / tiling.tokens_per_tile * tiling.tokens_per_tile;
}

int64_t CountTiles(const AttentionParams& params, const Tiling& tiling) {
  int64_t tiles = 0;
  for (int s = 0; s < params.num_seqs; ++s) {
    const int32_t begin = params.cu_seqlens[s];
    for (int32_t end = params.cu_seqlens[s + 1]; end > begin; ++tiles) end = TileBegin(params, tiling, begin, end);
  }
  return tiles * tiling.tiles_per_group * params.kv.layout.num_kv_heads;
}

// Splits that the tile's tokens see.
void SetSplits(const AttentionParams& params, AttentionItem* tile) {
  const int32_t first = params.positions[tile->token_begin];
  const int32_t last = params.positions[tile->token_begin + tile->num_tokens - 1];
  const int32_t begin = params.window > 0 ? std::max(0, first - params.window + 1) : 0;
  tile->split_begin = begin / kSplit;
  tile->split_end = last / kSplit + 1;
}

void AddTile(const AttentionItem& tile, bool want_splits, int head_dim, Plan* plan) {
  const int64_t splits = tile.split_end - tile.split_begin;
  const int64_t split_floats = int64_t{tile.num_tokens} * tile.num_heads * PartialFloats(head_dim);
  if (!want_splits || splits <= 1 || splits * split_floats > plan->partial_left) {
    plan->items[plan->num_items++] = tile;
    return;
  }
  AttentionItem whole = tile;
  whole.partial = plan->partial;
  plan->merges[plan->num_merges++] = whole;
  for (int32_t split = tile.split_begin; split < tile.split_end; ++split) {
    AttentionItem part = tile;
    part.split_begin = split;
    part.split_end = split + 1;
    part.partial = plan->partial;
    plan->items[plan->num_items++] = part;
    plan->partial += split_floats;
  }
  plan->partial_left -= splits * split_floats;
}

// Late tokens see the most: they come first, so that what is left at the end is small.
void AddTiles(const AttentionParams& params, const Tiling& tiling, bool few_tiles, Plan* plan) {
  const KvLayout& layout = params.kv.layout;
  const int group = params.num_heads / layout.num_kv_heads;
  for (int s = 0; s < params.num_seqs; ++s) {
    const int32_t begin = params.cu_seqlens[s];
    const int32_t tokens = params.cu_seqlens[s + 1] - begin;
    const bool want_splits = few_tiles || tokens <= 4;  // decoding: unequal lengths side by side
    for (int32_t end = begin + tokens, next; end > begin; end = next) {
      next = TileBegin(params, tiling, begin, end);
      for (int kv_head = 0; kv_head < layout.num_kv_heads; ++kv_head) {
        for (int head = 0; head < group; head += tiling.heads_per_tile) {
          AttentionItem item{};
          item.seq = s;
          item.kv_head = kv_head;
          item.head_begin = kv_head * group + head;
          item.num_heads = std::min(tiling.heads_per_tile, group - head);
          item.token_begin = next;
          item.num_tokens = end - next;
          SetSplits(params, &item);
          AddTile(item, want_splits, layout.head_dim, plan);
        }
      }
    }
  }
}

void CheckParams(const AttentionParams& params) {
  const KvLayout& layout = params.kv.layout;
  INGOT_CHECK(layout.num_kv_heads > 0 && params.num_heads % layout.num_kv_heads == 0);
  for (int s = 0; s < params.num_seqs; ++s) {
    for (int32_t t = params.cu_seqlens[s] + 1; t < params.cu_seqlens[s + 1]; ++t) {
      INGOT_CHECK(params.positions[t] == params.positions[t - 1] + 1);
    }
  }
}

AttentionArgs ArgsOf(const AttentionParams& params) {
  return {.q = params.q,
          .q_stride = params.q_stride,
          .out = params.out,
          .num_heads = params.num_heads,
          .group = params.num_heads / params.kv.layout.num_kv_heads,
          .positions = params.positions,
          .block_tables = params.block_tables,
          .block_table_stride = params.block_table_stride,
          .kv = LayerOf(params.kv, params.layer),
          .open = OpenTilesOf(params.kv, params.layer, params.tiles),
          .scale = params.scale,
          .softcap = params.softcap,
          .window = params.window};
}

// kI4: the beginning of a tile that the step fills and leaves, out of the sequence's tail, before that is written to.
void CarryTiles(const Context& context, const kernels::OpenTiles& open, const StepTiles& tiles, int64_t tile_bytes) {
  RunItems(context, std::ssize(tiles.carried), [&](int64_t i, int) {
    const auto [slot, tile] = tiles.carried[static_cast<size_t>(i)];
    std::memcpy(open.passing + tile * tile_bytes, open.tails + slot * open.tail_stride,
                static_cast<size_t>(tile_bytes));
  });
}

// kI4: what is full goes into the cache.
void CloseTiles(const Context& context, const kernels::KvWriteParams& write, std::span<const int32_t> closing) {
  const kernels::KvLayer& kv = write.kv;
  const int64_t heads = write.num_kv_heads, head_bytes = int64_t{kernels::kKvTile} * kv.head_dim * 2 * 2;
  const int64_t tiles = kv.block_len / kernels::kKvTile;
  RunItems(context, std::ssize(closing) * heads, [&](int64_t i, int) {
    const int32_t token = closing[static_cast<size_t>(i / heads)], index = write.open.index[token];
    const int64_t head = i % heads, slot = write.slots[token], tile = slot % kv.block_len / kernels::kKvTile;
    const std::byte* open = index >= 0 ? write.open.passing + index * heads * head_bytes
                                       : write.open.tails + ~index * write.open.tail_stride;
    std::byte* cached =
        kv.data + slot / kv.block_len * kv.block_stride + head * tiles * (kv.key_tile_bytes + kv.value_tile_bytes);
    context.kernels->attention.close_tile(open + head * head_bytes, kv.head_dim, cached + tile * kv.key_tile_bytes,
                                          cached + tiles * kv.key_tile_bytes + tile * kv.value_tile_bytes);
  });
}

int64_t MaxSplits(int64_t max_context) { return (max_context + kSplit - 1) / kSplit; }

int64_t PartialBudgetBytes(int64_t tokens, int num_heads, int head_dim, int64_t max_context) {
  const int64_t row_bytes = MaxSplits(max_context) * PartialFloats(head_dim) * static_cast<int64_t>(sizeof(float));
  return std::min(kMaxPartialBytes, tokens * num_heads * row_bytes);
}

}  // namespace

void RopeKvWrite(const Context& context, const RopeKvWriteParams& params) {
  const KvLayout& layout = params.kv.layout;
  INGOT_CHECK(params.rotary_dim % 2 == 0 && params.rotary_dim <= layout.head_dim);
  for (int64_t t = 0; t < params.num_tokens; ++t) {
    INGOT_CHECK(params.slots[t] >= 0 && params.slots[t] / layout.block_len < params.kv.num_blocks);
  }
  const kernels::KvWriteParams write = {.q = params.q,
                                        .k = params.k,
                                        .v = params.v,
                                        .stride = params.qkv_stride,
                                        .num_heads = params.num_heads,
                                        .num_kv_heads = layout.num_kv_heads,
                                        .cos = params.cos,
                                        .sin = params.sin,
                                        .rotary_dim = params.rotary_dim,
                                        .q_norm = params.q_norm,
                                        .k_norm = params.k_norm,
                                        .norm_eps = params.norm_eps,
                                        .slots = params.slots,
                                        .kv = LayerOf(params.kv, params.layer),
                                        .open = OpenTilesOf(params.kv, params.layer, params.tiles)};
  if (params.tiles != nullptr) CarryTiles(context, write.open, *params.tiles, layout.open_tile_bytes());
  const int64_t token_elements = int64_t{params.num_heads + 4 * layout.num_kv_heads} * layout.head_dim;
  const int64_t tokens_per_part = std::max<int64_t>(1, 16384 / token_elements);
  const int64_t parts = (params.num_tokens + tokens_per_part - 1) / tokens_per_part;
  RunItems(context, parts, [&](int64_t part, int) {
    context.kernels->attention.kv_write(write, part * tokens_per_part,
                                        std::min(params.num_tokens, (part + 1) * tokens_per_part));
  });
  if (params.tiles != nullptr) CloseTiles(context, write, params.tiles->closing);
}

int64_t AttentionScratchBytes(const Context& context, int64_t max_tokens, int num_heads, int head_dim,
                              int64_t max_context) {
  const int64_t workspace = AttentionWorkspaceFloats(head_dim) * static_cast<int64_t>(sizeof(float));
  const int64_t partial = PartialBudgetBytes(max_tokens, num_heads, head_dim, max_context);
  // A tile has at least a row, a split item at least one partial row.
  const int64_t row_bytes = PartialFloats(head_dim) * static_cast<int64_t>(sizeof(float));
  const int64_t items = 2 * max_tokens * num_heads + partial / row_bytes;
  return Threads(context) * (workspace + 64) + partial + items * static_cast<int64_t>(sizeof(AttentionItem)) + 256;
}

void Attention(const Context& context, const AttentionParams& params) {
  CheckParams(params);
  const int64_t num_tokens = params.num_seqs > 0 ? params.cu_seqlens[params.num_seqs] - params.cu_seqlens[0] : 0;
  if (num_tokens == 0) return;
  const int head_dim = params.kv.layout.head_dim;
  const AttentionArgs args = ArgsOf(params);
  const Tiling tiling(args.group);
  const int64_t tiles = CountTiles(params, tiling);
  const int32_t last =
      *std::max_element(params.positions + params.cu_seqlens[0], params.positions + params.cu_seqlens[params.num_seqs]);

  const Scratch::Mark mark(*context.scratch);
  const int64_t workspace_floats = (AttentionWorkspaceFloats(head_dim) + 15) / 16 * 16;
  float* const workspaces = context.scratch->Take<float>(Threads(context) * workspace_floats);
  Plan plan{};
  plan.partial_left = PartialBudgetBytes(num_tokens, params.num_heads, head_dim, int64_t{last} + 1) /
                      static_cast<int64_t>(sizeof(float));
  plan.partial = context.scratch->Take<float>(plan.partial_left);
  plan.merges = context.scratch->Take<AttentionItem>(tiles);
  plan.items = context.scratch->Take<AttentionItem>(tiles + plan.partial_left / PartialFloats(head_dim));
  AddTiles(params, tiling, tiles < kItemsPerThread * Threads(context), &plan);

  RunItems(context, plan.num_items, [&](int64_t i, int worker) {
    context.kernels->attention.attend(args, plan.items[i], workspaces + worker * workspace_floats);
  });
  if (plan.num_merges == 0) return;
  RunItems(context, plan.num_merges, [&](int64_t i, int worker) {
    context.kernels->attention.merge(args, plan.merges[i], workspaces + worker * workspace_floats);
  });
}

}  // namespace ingot::ops
