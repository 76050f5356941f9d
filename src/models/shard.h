// A model cut into equal parts by heads, inner sizes and experts' inner sizes, as tensor parallelism has it: each rank
// computes a summand of what attention and MLP add to the residual stream.
#pragma once

#include <vector>

#include "models/roles.h"

namespace ingot::models {

struct Shard {
  int rank = 0, world = 1;
};

// The model of one rank. Where there are fewer KV heads than ranks, several ranks hold the same. kInvalidArgument names
// what the ranks do not divide.
Result<ModelSpec> ShardSpec(const ModelSpec& spec, const Shard& shard);

// [begin, end)
struct Extent {
  int64_t begin, end;
  bool operator==(const Extent&) const = default;
};

// What a rank holds of a role's tensor, in the order of roles.h.
struct RoleShare {
  std::vector<Extent> rows;  // one below the other; several for roles in one tensor
  Extent cols;
  bool has_bias;  // what is summed over the ranks has its bias once
};
// size: of the whole model's. Norms, embedding, head and router are on every rank.
RoleShare ShareOf(const ModelSpec& spec, int layer, const RoleSize& size, const Shard& shard);

// The tensors of one rank, of those of ReadRoles or ReadLayerRoles. Errors name the tensor whose scales a cut divides.
Result<std::vector<RoleTensor>> ShardRoles(const std::vector<RoleTensor>& tensors, const ModelSpec& spec,
                                           const Shard& shard);

}  // namespace ingot::models
