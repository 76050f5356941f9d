// Head norms, rotary embedding, and the write of K and V into the cache.
#pragma once

#include "kernels/cuda/kv_tiles.h"

namespace ingot::kernels::cuda {

// A head's numbers, in shared memory, as the norm and the rotation leave them.
INGOT_DEVICE void NormAndRotate(const WriteKvParams& p, int64_t token, const float* norm, float* x) {
  const int dim = p.kv.head_dim, half = p.rotary_dim / 2;
  if (norm != nullptr) {
    float sum = 0;
    for (int d = Lane(); d < dim; d += kWarpSize) sum = Fma(x[d], x[d], sum);
    const float inverse = ReciprocalSqrt(Divide(WarpSum(sum), static_cast<float>(dim)) + p.norm_eps);
    for (int d = Lane(); d < dim; d += kWarpSize) x[d] = x[d] * inverse * norm[d];
    SyncWarp();
  }
  for (int i = Lane(); i < half; i += kWarpSize) {
    const float cos = p.cos[token * half + i], sin = p.sin[token * half + i], a = x[i], b = x[i + half];
    x[i] = a * cos - b * sin;
    x[i + half] = b * cos + a * sin;
  }
  SyncWarp();
}

// Where a row of K or of V goes.
struct RowPlace {
  std::byte* tile;
  int j;  // its position in the tile
  bool is_key;
};

INGOT_DEVICE void StoreBytes(const RowPlace& place, const float* x, int dim) {
  float low = kInfinity, high = -kInfinity;
  bool nan = false;
  for (int d = Lane(); d < dim; d += kWarpSize) {
    const float value = ClampToHalf(x[d]);
    nan = nan || IsNan(value);
    low = Minimum(low, value);
    high = Maximum(high, value);
  }
  const CodeGrid grid = FitGrid(-WarpMaximum(-low), WarpMaximum(high), Ballot(nan) != 0, 255);
  auto* const codes = reinterpret_cast<uint8_t*>(place.tile);
  for (int d = Lane(); d < dim; d += kWarpSize) {
    codes[place.is_key ? d * kKvTile + place.j : place.j * dim + d] = static_cast<uint8_t>(CodeOf(x[d], grid));
  }
  if (Lane() != 0) return;
  StoreHalf(place.tile + kKvTile * dim, place.j, grid.scale);
  StoreHalf(place.tile + kKvTile * dim, kKvTile + place.j, grid.min);
}

INGOT_DEVICE void StoreRow(KvFormat format, const RowPlace& place, const float* x, int dim) {
  if (format == KvFormat::kI8) return StoreBytes(place, x, dim);
  for (int d = Lane(); d < dim; d += kWarpSize) {
    const int index = place.is_key ? d * kKvTile + place.j : place.j * dim + d;
    if (format == KvFormat::kBF16) {
      reinterpret_cast<uint16_t*>(place.tile)[index] = FloatToBFloat16(x[d]).bits;
    } else {
      StoreHalf(place.tile, index, format == KvFormat::kI4 ? ClampToHalf(x[d]) : x[d]);
    }
  }
}

// A warp does a head of Q, K or V.
// grid: (num_heads + 2 · num_kv_heads, tokens), threads: one warp, shared memory: kWriteKvSharedBytes
template <typename T>
INGOT_DEVICE void WriteKv(const WriteKvParams& p) {
  SharedMemory shared;
  float* const x = shared.Take<float>(kMaxHeadDim);
  const int dim = p.kv.head_dim, head = static_cast<int>(BlockIndex().x);
  const int64_t token = BlockIndex().y;
  if (p.kv_slots[token] < 0) return;
  T* const row = static_cast<T*>(p.qkv) + (token * GridSize().x + head) * dim;
  for (int d = Lane(); d < dim; d += kWarpSize) x[d] = ToFloat(row[d]);
  SyncWarp();
  const bool is_query = head < p.num_heads, is_key = !is_query && head < p.num_heads + p.num_kv_heads;
  if (is_query || is_key) {
    NormAndRotate(p, token, is_query ? p.q_norm : p.k_norm, x);
    for (int d = Lane(); d < dim; d += kWarpSize) row[d] = FromFloat<T>(x[d]);
  }
  if (is_query) return;
  const int kv_head = (head - p.num_heads) % p.num_kv_heads;
  const KvTile tile = p.kv.format == KvFormat::kI4 ? OpenTile(p.open, {token, p.num_kv_heads, kv_head, dim})
                                                   : CacheTile(p.kv, p.kv_slots[token], kv_head);
  StoreRow(p.kv.format, {is_key ? tile.keys : tile.values, p.kv_slots[token] % kKvTile, is_key}, x, dim);
}

// kI4: what a sequence's tail holds goes where its first tile will be, before the step writes there.
// grid: (carried), threads: kRowThreads
INGOT_DEVICE void CarryTiles(const CarryTilesParams& p) {
  const int32_t slot = p.carried[BlockIndex().x * 2], tile = p.carried[BlockIndex().x * 2 + 1];
  const auto* const from = reinterpret_cast<const uint32_t*>(p.open.tails + slot * p.open.tail_stride);
  auto* const to = reinterpret_cast<uint32_t*>(p.open.passing + tile * p.open_bytes);
  for (int64_t i = ThreadIndex().x; i < p.open_bytes / 4; i += kRowThreads) to[i] = from[i];
}

// The n numbers at(i) of a group: their grid.
template <typename At>
INGOT_DEVICE CodeGrid FitGroup(int n, const At& at) {
  float low = kInfinity, high = -kInfinity;
  bool nan = false;
  for (int i = 0; i < n; ++i) {
    const float x = ClampToHalf(at(i));
    nan = nan || IsNan(x);
    low = Minimum(low, x);
    high = Maximum(high, x);
  }
  return FitGrid(low, high, nan, 15);
}

// A thread does a channel of the keys: its 32 positions are a group.
INGOT_DEVICE void CloseKeys(const std::byte* open, std::byte* closed, int d, int dim) {
  const auto at = [&](int j) { return LoadNumber<KvFormat::kF16>(open, d * kKvTile + j); };
  const CodeGrid grid = FitGroup(kKvTile, at);
  for (int j = 0; j < kKvTile / 2; ++j) {
    const uint32_t byte = CodeOf(at(j), grid) | CodeOf(at(j + kKvTile / 2), grid) << 4;
    reinterpret_cast<uint8_t*>(closed)[d * (kKvTile / 2) + j] = static_cast<uint8_t>(byte);
  }
  std::byte* const scales = closed + kKvTile / 2 * dim;
  StoreHalf(scales, d, grid.scale);
  StoreHalf(scales, dim + d, grid.min);
}

// A thread does a group of dims of the values of two positions, j and j + 16, whose codes share bytes.
INGOT_DEVICE void CloseValues(const std::byte* open, std::byte* closed, int j, int group, int dim) {
  const int begin = group * kValueGroup, n = Minimum(kValueGroup, dim - begin),
            groups = (dim + kValueGroup - 1) / kValueGroup;
  const auto at = [&](int position, int i) { return LoadNumber<KvFormat::kF16>(open, position * dim + begin + i); };
  const int other = j + kKvTile / 2;
  const CodeGrid low = FitGroup(n, [&](int i) { return at(j, i); });
  const CodeGrid high = FitGroup(n, [&](int i) { return at(other, i); });
  for (int i = 0; i < n; ++i) {
    const uint32_t byte = CodeOf(at(j, i), low) | CodeOf(at(other, i), high) << 4;
    reinterpret_cast<uint8_t*>(closed)[j * dim + begin + i] = static_cast<uint8_t>(byte);
  }
  std::byte* const scales = closed + kKvTile / 2 * dim;
  StoreHalf(scales, group * kKvTile + j, low.scale);
  StoreHalf(scales, group * kKvTile + other, high.scale);
  StoreHalf(scales, (groups + group) * kKvTile + j, low.min);
  StoreHalf(scales, (groups + group) * kKvTile + other, high.min);
}

// kI4: tiles that are full go into the cache.   grid: (closing, num_kv_heads), threads: kRowThreads
INGOT_DEVICE void CloseTiles(const CloseTilesParams& p) {
  const int64_t token = p.closing[BlockIndex().x];
  if (token < 0) return;
  const int kv_head = static_cast<int>(BlockIndex().y), dim = p.kv.head_dim;
  const KvTile open = OpenTile(p.open, {token, p.num_kv_heads, kv_head, dim});
  const KvTile closed = CacheTile(p.kv, p.kv_slots[token], kv_head);
  const auto thread = static_cast<int>(ThreadIndex().x);
  for (int d = thread; d < dim; d += kRowThreads) CloseKeys(open.keys, closed.keys, d, dim);
  const int groups = (dim + kValueGroup - 1) / kValueGroup;
  for (int i = thread; i < groups * kKvTile / 2; i += kRowThreads) {
    CloseValues(open.values, closed.values, i % (kKvTile / 2), i / (kKvTile / 2), dim);
  }
}

}  // namespace ingot::kernels::cuda
