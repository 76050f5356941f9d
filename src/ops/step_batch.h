// What one forward pass works on: tokens of several sequences, one after another. Host memory, filled by engine/.
#pragma once

#include <cstdint>
#include <span>

#include "ops/kv_view.h"
#include "ops/sampling.h"
#include "tensor/tensor.h"

namespace ingot::ops {

// Where the tokens of a batch lie in the cache of one group of layers (Model::kv_groups). In a group of states a token
// at p begins with the state in entry (p - 1) / block_len of its table (p = 0: with zeros), and leaves one in entry
// p / block_len; `kv_slots` say nothing more.
struct KvGroupBatch {
  std::span<const int32_t> block_tables;  // [S, block_table_stride]
  int64_t block_table_stride = 0;
  std::span<const int32_t> kv_slots;  // [T] where each token's K and V go
};

inline constexpr int32_t kNoAdapter = -1;
inline constexpr int32_t kNoSlot = -1;  // in the cache: that of a token which only fills up the batch

struct StepBatch {
  std::span<const int32_t> token_ids;    // [T] an id, or ~slot: the token last drawn for that slot
  TensorView drawn_tokens;               // i32 [max_batch_size] by slot; of the device's memory
  std::span<const int32_t> positions;    // [T]
  std::span<const int32_t> cu_seqlens;   // [S + 1]: tokens of sequence s are [cu_seqlens[s], cu_seqlens[s + 1])
  std::span<const KvGroupBatch> groups;  // one a group of layers
  std::span<const int32_t> tail_slots;   // [S] running slot of each sequence: with an int4 cache, which tail is its own
  std::span<const int32_t> adapters;     // [S] whose weights are added for each sequence, or kNoAdapter; empty: none
  std::span<const int32_t> logits_rows;  // [L] tokens (in [0, T)) whose logits are wanted, ascending
  int64_t max_context = 0;               // largest position + 1
  // One token of each sequence, filled up to Backend::PaddedDecodes with sequences of one token of kNoSlot, whose rows
  // of logits mean nothing: such steps of one size make the same launches.
  bool is_padded = false;
  std::span<const DrawRow> draws;    // where the device draws
  std::span<const LogitEdit> edits;  // of all of them; at most kMaxLogitEdits

  int64_t num_tokens() const { return static_cast<int64_t>(token_ids.size()); }
  int64_t num_seqs() const { return static_cast<int64_t>(cu_seqlens.size()) - 1; }
};

// The largest StepBatch that memory is sized for.
struct StepLimits {
  int64_t max_tokens = 1;
  int64_t max_seqs = 1;
  int64_t max_context = 1;  // largest position + 1
  int64_t max_draws = 0;
};

// A batch as a backend has it: planned on the host and uploaded once, read by the ops of all layers. Views are of the
// device's memory.
struct Step {
  int64_t num_tokens = 0;          // T
  TensorView token_ids;            // i32 [T] an id, or ~slot
  TensorView drawn_tokens;         // i32 [max_batch_size] by slot
  TensorView positions;            // i32 [T]
  TensorView logits_rows;          // i32 [L]
  std::span<const KvView> kv;      // one a group of layers
  const void* metadata = nullptr;  // the backend's: block tables, KV slots, tiles of attention and how they are split
};

}  // namespace ingot::ops
