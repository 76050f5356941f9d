#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#define INGOT_ISA_NAMESPACE reference
#include "kernels/cpu/vector_math.h"

namespace ingot::kernels::reference {
namespace {

// Of one KV head, the tiles that hold a position.
struct Tiles {
  std::byte* keys;
  std::byte* values;
};

Tiles CacheTiles(const KvLayer& kv, int64_t slot, int kv_head) {
  const int64_t block = slot / kv.block_len, tile = slot % kv.block_len / kKvTile, tiles = kv.block_len / kKvTile;
  std::byte* keys = kv.data + block * kv.block_stride + kv_head * tiles * (kv.key_tile_bytes + kv.value_tile_bytes);
  return {keys + tile * kv.key_tile_bytes, keys + tiles * kv.key_tile_bytes + tile * kv.value_tile_bytes};
}

Tiles OwnTiles(const OpenTiles& open, int64_t token, int num_kv_heads, int kv_head, int head_dim) {
  const int64_t tile_bytes = int64_t{kKvTile} * head_dim * 2, index = open.index[token];
  std::byte* base =
      index >= 0 ? open.passing + index * num_kv_heads * 2 * tile_bytes : open.tails + ~index * open.tail_stride;
  return {base + kv_head * 2 * tile_bytes, base + (kv_head * 2 + 1) * tile_bytes};
}

uint16_t LoadBits(const std::byte* base, int64_t index) {
  uint16_t bits;
  std::memcpy(&bits, base + index * 2, sizeof(bits));
  return bits;
}
void StoreBits(std::byte* base, int64_t index, uint16_t bits) { std::memcpy(base + index * 2, &bits, sizeof(bits)); }

float LoadHalf(const std::byte* base, int64_t index) { return F16ToF32(LoadBits(base, index)); }
void StoreHalf(std::byte* base, int64_t index, float value) { StoreBits(base, index, F32ToF16(value)); }

// A tile of keys or of values; j is one of its 32 positions, d one of its dims.
struct Tile {
  KvFormat format;
  std::byte* data;
  int dim;
  bool is_key;

  // Where a number is, in a tile that holds one per (position, dim).
  int64_t IndexOf(int j, int d) const { return is_key ? int64_t{d} * kKvTile + j : int64_t{j} * dim + d; }
  // kI4: the byte with its code; how many groups there are, and which one it is in.
  std::byte& ByteOf(int j, int d) const { return data[is_key ? int64_t{d} * 16 + j % 16 : int64_t{j % 16} * dim + d]; }
  int64_t NumGroups() const { return is_key ? dim : (int64_t{dim} + kValueGroup - 1) / kValueGroup * kKvTile; }
  int64_t GroupOf(int j, int d) const { return is_key ? d : int64_t{d / kValueGroup} * kKvTile + j; }
};

float LoadElement(const Tile& tile, int j, int d) {
  switch (tile.format) {
    case KvFormat::kF32: {
      float value;
      std::memcpy(&value, tile.data + tile.IndexOf(j, d) * 4, sizeof(value));
      return value;
    }
    case KvFormat::kF16:
      return LoadHalf(tile.data, tile.IndexOf(j, d));
    case KvFormat::kBF16:
      return BF16ToF32(LoadBits(tile.data, tile.IndexOf(j, d)));
    case KvFormat::kI8: {
      const auto code = static_cast<float>(std::to_integer<int>(tile.data[tile.IndexOf(j, d)]));
      const std::byte* scales = tile.data + int64_t{kKvTile} * tile.dim;
      return std::fma(code, LoadHalf(scales, j), LoadHalf(scales, kKvTile + j));
    }
    case KvFormat::kI4: {
      const int code = (std::to_integer<int>(tile.ByteOf(j, d)) >> (j < 16 ? 0 : 4)) & 15;
      const std::byte* scales = tile.data + int64_t{kKvTile / 2} * tile.dim;
      const int64_t group = tile.GroupOf(j, d);
      return std::fma(static_cast<float>(code), LoadHalf(scales, group), LoadHalf(scales, tile.NumGroups() + group));
    }
  }
  return 0;
}

float Clamp(float x) { return std::isnan(x) ? x : std::clamp(x, -65504.0f, 65504.0f); }

// x ≈ min + code · scale with codes 0…max_code; scale and min are numbers of fp16. The scale of numbers that are all
// alike is 0; one NaN makes the minimum NaN.
struct Grid {
  float scale, min, max_code;
};

template <typename At>  // at(i) is the i-th of n numbers
Grid FitGrid(int n, float max_code, const At& at) {
  float low = Clamp(at(0)), high = low;
  for (int i = 0; i < n; ++i) {
    const float x = Clamp(at(i));
    if (std::isnan(x)) return {0, NAN, max_code};
    low = std::min(low, x);
    high = std::max(high, x);
  }
  const float min = F16ToF32(F32ToF16(low));
  return {F16ToF32(F32ToF16(std::max(0.0f, (high - min) / max_code))), min, max_code};
}

std::byte CodeOf(float x, const Grid& grid) {
  if (!(grid.scale > 0) || std::isnan(grid.min)) return std::byte{0};
  const float code = std::nearbyint((Clamp(x) - grid.min) * (1 / grid.scale));
  return static_cast<std::byte>(std::clamp(code, 0.0f, grid.max_code));
}

// A position's key or value, quantized on its own.   x: [dim]
void StoreBytes(const Tile& tile, int j, const float* x) {
  const Grid grid = FitGrid(tile.dim, 255, [x](int d) { return x[d]; });
  for (int d = 0; d < tile.dim; ++d) tile.data[tile.IndexOf(j, d)] = CodeOf(x[d], grid);
  std::byte* scales = tile.data + int64_t{kKvTile} * tile.dim;
  StoreHalf(scales, j, grid.scale);
  StoreHalf(scales, kKvTile + j, grid.min);
}

// A position's key or value; with kI4 into an open tile.   x: [dim]
void StoreRow(const Tile& tile, int j, const float* x) {
  if (tile.format == KvFormat::kI8) return StoreBytes(tile, j, x);
  for (int d = 0; d < tile.dim; ++d) {
    const int64_t index = tile.IndexOf(j, d);
    if (tile.format == KvFormat::kF32) {
      std::memcpy(tile.data + index * 4, x + d, sizeof(float));
    } else if (tile.format == KvFormat::kBF16) {
      StoreBits(tile.data, index, F32ToBF16(x[d]));
    } else {
      StoreHalf(tile.data, index, tile.format == KvFormat::kI4 ? Clamp(x[d]) : x[d]);
    }
  }
}

struct Element {
  int j, d;
};

// Quantizes the n elements, element(i), that are a group of `closed`.
template <typename ElementAt>
void CloseGroup(const Tile& open, const Tile& closed, int n, const ElementAt& element) {
  const auto at = [&](int i) { return LoadElement(open, element(i).j, element(i).d); };
  const Grid grid = FitGrid(n, 15, at);
  for (int i = 0; i < n; ++i) {
    const auto [j, d] = element(i);
    const std::byte code = CodeOf(at(i), grid);
    std::byte& byte = closed.ByteOf(j, d);
    byte = j < 16 ? (byte & std::byte{0xf0}) | code : (byte & std::byte{0x0f}) | code << 4;
  }
  std::byte* scales = closed.data + int64_t{kKvTile / 2} * closed.dim;
  const int64_t group = closed.GroupOf(element(0).j, element(0).d);
  StoreHalf(scales, group, grid.scale);
  StoreHalf(scales, closed.NumGroups() + group, grid.min);
}

void CloseTile(const std::byte* open, int dim, std::byte* keys, std::byte* values) {
  std::byte* data = const_cast<std::byte*>(open);  // read only
  const Tile open_keys{KvFormat::kF16, data, dim, true};
  const Tile open_values{KvFormat::kF16, data + int64_t{kKvTile} * dim * 2, dim, false};
  for (int d = 0; d < dim; ++d) {
    CloseGroup(open_keys, {KvFormat::kI4, keys, dim, true}, kKvTile, [d](int j) { return Element{j, d}; });
  }
  for (int j = 0; j < kKvTile; ++j) {
    for (int begin = 0; begin < dim; begin += kValueGroup) {
      CloseGroup(open_values, {KvFormat::kI4, values, dim, false}, std::min(kValueGroup, dim - begin),
                 [j, begin](int i) { return Element{j, begin + i}; });
    }
  }
}

void NormAndRotate(const KvWriteParams& p, int64_t token, const float* norm, float* x) {
  const int dim = p.kv.head_dim, half = p.rotary_dim / 2;
  if (norm != nullptr) {
    double sum = 0;
    for (int d = 0; d < dim; ++d) sum += double{x[d]} * x[d];
    const float inverse = static_cast<float>(1.0 / std::sqrt(sum / dim + p.norm_eps));
    for (int d = 0; d < dim; ++d) x[d] = x[d] * inverse * norm[d];
  }
  for (int i = 0; i < half; ++i) {
    const float cos = p.cos[token * half + i], sin = p.sin[token * half + i];
    const float a = x[i], b = x[i + half];
    x[i] = a * cos - b * sin;
    x[i + half] = b * cos + a * sin;
  }
}

void KvWrite(const KvWriteParams& p, int64_t begin, int64_t end) {
  const int dim = p.kv.head_dim;
  for (int64_t t = begin; t < end; ++t) {
    for (int h = 0; h < p.num_heads; ++h) NormAndRotate(p, t, p.q_norm, p.q + t * p.stride + h * dim);
    for (int h = 0; h < p.num_kv_heads; ++h) {
      float* k = p.k + t * p.stride + h * dim;
      const float* v = p.v + t * p.stride + h * dim;
      NormAndRotate(p, t, p.k_norm, k);
      const Tiles tiles = p.kv.format == KvFormat::kI4 ? OwnTiles(p.open, t, p.num_kv_heads, h, dim)
                                                       : CacheTiles(p.kv, p.kv_slots[t], h);
      StoreRow({p.kv.format, tiles.keys, dim, true}, p.kv_slots[t] % kKvTile, k);
      StoreRow({p.kv.format, tiles.values, dim, false}, p.kv_slots[t] % kKvTile, v);
    }
  }
}

// One query: a (token, head) row of an item.
struct Query {
  const AttentionArgs& args;
  const int32_t* block_table;
  int kv_head;
  int64_t token;
  int position;
  const float* q;  // [head_dim]
  float* out;      // [head_dim]
};

Query QueryOf(const AttentionArgs& args, const AttentionItem& item, int row) {
  const int64_t token = item.token_begin + row / item.num_heads;
  const int64_t head = item.head_begin + row % item.num_heads;
  const int dim = args.kv.head_dim;
  return {args,
          args.block_tables + item.seq * args.block_table_stride,
          item.kv_head,
          token,
          args.positions[token],
          args.q + token * args.q_stride + head * dim,
          args.out + (token * args.num_heads + head) * dim};
}

// The running softmax of a row: m, l and o as in PartialFloats().
struct Partial {
  float* o;  // [head_dim]
  float* m;
  float* l;
};
Partial PartialAt(float* base, int head_dim) {
  return {base, base + PaddedDim(head_dim), base + PaddedDim(head_dim) + 1};
}

// The positions of `split` that the query sees: [*begin, *end).
bool Visible(const Query& query, int split, int* begin, int* end) {
  const int window = query.args.window;
  *begin = std::max(split * kSplit, window > 0 ? query.position - window + 1 : 0);
  *end = std::min((split + 1) * kSplit, query.position + 1);
  return *begin < *end;
}

// The key's or value's dim `d` at position `j`, as the query sees it.
float Seen(const Query& query, bool is_key, int j, int d) {
  const KvLayer& kv = query.args.kv;
  const bool own = kv.format == KvFormat::kI4 && j / kKvTile == query.position / kKvTile;
  const int num_kv_heads = query.args.num_heads / query.args.heads_per_kv_head;
  const int64_t slot = int64_t{query.block_table[j / kv.block_len]} * kv.block_len + j % kv.block_len;
  const Tiles tiles = own ? OwnTiles(query.args.open, query.token, num_kv_heads, query.kv_head, kv.head_dim)
                          : CacheTiles(kv, slot, query.kv_head);
  const Tile tile{own ? KvFormat::kF16 : kv.format, is_key ? tiles.keys : tiles.values, kv.head_dim, is_key};
  return LoadElement(tile, j % kKvTile, d);
}

void AttendSplit(const Query& query, int begin, int end, float* scores, Partial out) {
  const AttentionArgs& args = query.args;
  const int dim = args.kv.head_dim;
  *out.m = -INFINITY;
  for (int j = begin; j < end; ++j) {
    float score = 0;
    for (int d = 0; d < dim; ++d) score += query.q[d] * args.scale * Seen(query, true, j, d);
    if (args.softcap > 0) score = args.softcap * Tanh({score / args.softcap}).v;
    scores[j - begin] = score;
    *out.m = std::max(*out.m, score);
  }
  *out.l = 0;
  std::fill_n(out.o, dim, 0.0f);
  for (int j = begin; j < end; ++j) {
    const float p = Exp({scores[j - begin] - *out.m}).v;
    *out.l += p;
    for (int d = 0; d < dim; ++d) out.o[d] += p * Seen(query, false, j, d);
  }
}

void MergeInto(Partial total, Partial part, int head_dim) {
  const float m = std::max(*total.m, *part.m);
  const float a = Exp({*total.m - m}).v, b = Exp({*part.m - m}).v;
  *total.m = m;
  *total.l = *total.l * a + *part.l * b;
  for (int d = 0; d < head_dim; ++d) total.o[d] = total.o[d] * a + part.o[d] * b;
}

void WriteOut(const Query& query, Partial total) {
  const float inverse = 1.0f / *total.l;
  for (int d = 0; d < query.args.kv.head_dim; ++d) query.out[d] = total.o[d] * inverse;
}

void Attend(const AttentionArgs& args, const AttentionItem& item, float* workspace) {
  const int dim = args.kv.head_dim, rows = item.num_tokens * item.num_heads;
  float* const scores = workspace;  // [kSplit]
  const Partial total = PartialAt(workspace + kSplit, dim);
  for (int row = 0; row < rows; ++row) {
    const Query query = QueryOf(args, item, row);
    bool first = true;
    for (int split = item.split_begin; split < item.split_end; ++split) {
      int begin, end;
      if (!Visible(query, split, &begin, &end)) continue;
      const int64_t index = int64_t{split - item.split_begin} * rows + row;
      float* const target = item.partial != nullptr ? item.partial + index * PartialFloats(dim)
                            : first                 ? workspace + kSplit
                                                    : workspace + kSplit + PartialFloats(dim);
      AttendSplit(query, begin, end, scores, PartialAt(target, dim));
      if (item.partial == nullptr && !first) MergeInto(total, PartialAt(target, dim), dim);
      first = false;
    }
    if (item.partial == nullptr) WriteOut(query, total);
  }
}

void Merge(const AttentionArgs& args, const AttentionItem& item, float* workspace) {
  const int dim = args.kv.head_dim, rows = item.num_tokens * item.num_heads;
  const Partial total = PartialAt(workspace, dim);
  for (int row = 0; row < rows; ++row) {
    const Query query = QueryOf(args, item, row);
    bool first = true;
    for (int split = item.split_begin; split < item.split_end; ++split) {
      int begin, end;
      if (!Visible(query, split, &begin, &end)) continue;
      float* const part = item.partial + (int64_t{split - item.split_begin} * rows + row) * PartialFloats(dim);
      if (first) {
        std::copy_n(part, PartialFloats(dim), workspace);
      } else {
        MergeInto(total, PartialAt(part, dim), dim);
      }
      first = false;
    }
    WriteOut(query, total);
  }
}

}  // namespace

const AttentionKernels kAttention = {KvWrite, CloseTile, Attend, Merge, nullptr};

}  // namespace ingot::kernels::reference
