#include "models/shard.h"

#include "base/check.h"

namespace ingot::models {
namespace {

Extent Part(int64_t size, const Shard& shard) {
  const int64_t part = size / shard.world;
  return {shard.rank * part, (shard.rank + 1) * part};
}

// A KV head serves the same query heads as in the whole model.
Extent KvRows(int64_t rows, int64_t heads, const Shard& shard) {
  if (heads >= shard.world) return Part(rows, shard);
  const int64_t head = shard.rank * heads / shard.world, dim = rows / heads;
  return {head * dim, (head + 1) * dim};
}

Status CheckDivides(const char* name, int64_t size, int world) {
  if (size % world == 0) return {};
  return InvalidArgument("{} {} is not a multiple of {}, the number of ranks", name, size, world);
}

int KvHeads(const ModelSpec& spec, int layer) {
  return layer < 0 ? 1 : spec.layers[static_cast<size_t>(layer)].num_kv_heads;
}

// Appends the rows of a role that begins at row `first` of its tensor.
void AddRows(const RoleSize& size, int64_t first, int64_t kv_heads, const Shard& shard, RoleShare* share) {
  Extent rows = {0, size.rows};
  switch (size.role) {
    case Role::kK:
    case Role::kV:
      rows = KvRows(size.rows, kv_heads, shard);
      break;
    case Role::kQ:
    case Role::kGate:
    case Role::kUp:
    case Role::kExpertGate:
    case Role::kExpertUp:
      rows = Part(size.rows, shard);
      break;
    default:
      break;
  }
  share->rows.push_back({first + rows.begin, first + rows.end});
}

// The sizes of the roles that a tensor holds.
std::vector<RoleSize> SizesIn(const ModelSpec& spec, const RoleTensor& tensor) {
  std::vector<Role> parts = PartsOf(tensor.role);
  if (parts.empty()) parts = {tensor.role};
  std::vector<RoleSize> sizes;
  for (const RoleSize& size : RolesOf(spec, tensor.layer)) {
    if (std::ranges::find(parts, size.role) != parts.end()) sizes.push_back(size);
  }
  INGOT_CHECK(sizes.size() == parts.size());
  return sizes;
}

Result<RoleTensor> Cut(const RoleTensor& tensor, const RoleShare& share) {
  RoleTensor part = tensor;
  if (!tensor.matrix) return part;
  std::vector<WeightSourcePtr> rows;
  part.numbers.clear();
  for (const Extent& range : share.rows) {
    rows.push_back(SliceRows(tensor.matrix, range.begin, range.end - range.begin));
    if (tensor.numbers.empty() || !share.has_bias) continue;
    part.numbers.insert(part.numbers.end(), tensor.numbers.begin() + range.begin, tensor.numbers.begin() + range.end);
  }
  part.matrix = rows.size() == 1 ? rows.front() : ConcatRows(std::move(rows));
  if (share.cols.end - share.cols.begin < tensor.matrix->cols()) {
    auto cols = SliceCols(std::move(part.matrix), share.cols.begin, share.cols.end - share.cols.begin);
    if (!cols) return Error(cols.error().Annotate(tensor.name));
    part.matrix = *std::move(cols);
  }
  part.stored_bytes =
      tensor.stored_bytes * part.matrix->rows() / tensor.matrix->rows() * part.matrix->cols() / tensor.matrix->cols();
  return part;
}

}  // namespace

Result<ModelSpec> ShardSpec(const ModelSpec& spec, const Shard& shard) {
  INGOT_CHECK(shard.world > 0 && shard.rank >= 0 && shard.rank < shard.world);
  for (const LayerSpec& layer : spec.layers) {
    INGOT_RETURN_IF_ERROR(CheckDivides("num_attention_heads", layer.num_heads, shard.world));
    if (layer.num_kv_heads <= shard.world && shard.world % layer.num_kv_heads == 0) continue;
    INGOT_RETURN_IF_ERROR(CheckDivides("num_key_value_heads", layer.num_kv_heads, shard.world));
  }
  INGOT_RETURN_IF_ERROR(CheckDivides("intermediate_size", spec.intermediate_size, shard.world));
  INGOT_RETURN_IF_ERROR(CheckDivides("moe_intermediate_size", spec.moe_intermediate_size, shard.world));
  ModelSpec part = spec;
  for (LayerSpec& layer : part.layers) {
    layer.num_heads /= shard.world;
    layer.num_kv_heads = std::max(1, layer.num_kv_heads / shard.world);
  }
  part.intermediate_size /= shard.world;
  part.moe_intermediate_size /= shard.world;
  return part;
}

RoleShare ShareOf(const ModelSpec& spec, int layer, const RoleSize& size, const Shard& shard) {
  RoleShare share{.rows = {}, .cols = {0, size.cols}, .has_bias = size.bias};
  AddRows(size, 0, KvHeads(spec, layer), shard, &share);
  if (size.role == Role::kO || size.role == Role::kDown || size.role == Role::kExpertDown) {
    share.cols = Part(size.cols, shard);
    share.has_bias = size.bias && shard.rank == 0;
  }
  return share;
}

Result<std::vector<RoleTensor>> ShardRoles(const std::vector<RoleTensor>& tensors, const ModelSpec& spec,
                                           const Shard& shard) {
  std::vector<RoleTensor> parts;
  for (const RoleTensor& tensor : tensors) {
    const std::vector<RoleSize> sizes = SizesIn(spec, tensor);
    RoleShare share = ShareOf(spec, tensor.layer, sizes.front(), shard);
    int64_t row = sizes.front().rows;
    for (size_t i = 1; i < sizes.size(); ++i) {
      AddRows(sizes[i], row, KvHeads(spec, tensor.layer), shard, &share);
      row += sizes[i].rows;
    }
    INGOT_ASSIGN_OR_RETURN(RoleTensor part, Cut(tensor, share));
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace ingot::models
