// Which name table a checkpoint follows.
#pragma once

#include "formats/checkpoint.h"
#include "models/families.h"
#include "models/model_spec.h"

namespace ingot::models {

struct CheckpointNames {
  const NameTable* table;
  NameTable::Prefix prefix;
  bool interleaved;  // rows of Q and K as GGUF's Llama has them (row_order.h)
};

// The first of the family's tables, under the first of its prefixes, whose tensors are there. kInvalidArgument names
// what was looked for.
Result<CheckpointNames> ChooseNames(const formats::Checkpoint& checkpoint, const ModelSpec& spec, const Family& family);

}  // namespace ingot::models
