// The host's side of a step's batch: filled sequence by sequence, then handed to the model in one piece.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/cache.h"
#include "ops/step_batch.h"

namespace ingot::engine {

// Thread safety: none. Allocates memory only when made.
class BatchBuilder {
 public:
  struct Limits {
    int64_t max_tokens = 1, max_seqs = 1, max_context = 1;
    int num_groups = 1, block_len = 64;
  };
  explicit BatchBuilder(const Limits& limits);

  void Clear();
  // The next tokens of the sequence under way: ids, or ~slot for the token last drawn for that slot.
  void AddTokens(std::span<const int32_t> token_ids);
  // The tokens added since the last sequence are one's, from position `begin` on.
  struct Sequence {
    int64_t begin = 0;
    int32_t slot = 0, adapter = ops::kNoAdapter;
  };
  void EndSequence(const Sequence& sequence, const kv::Holding& blocks);
  // The logits of this token of the batch are wanted. REQUIRES: ascending.
  void WantLogits(int64_t token) { logits_rows_.push_back(static_cast<int32_t>(token)); }

  // Fills up a batch of one token of each sequence, whose logits are all wanted, to `count` sequences
  // (ops::StepBatch::is_padded).
  void PadDecodes(int64_t count);

  // For the device to draw, of the rows of logits. They outlive the batch.
  void SetDraws(std::span<const ops::DrawRow> draws, std::span<const ops::LogitEdit> edits) {
    draws_ = draws;
    edits_ = edits;
  }

  int64_t num_logits() const { return static_cast<int64_t>(logits_rows_.size()); }
  int64_t num_tokens() const { return static_cast<int64_t>(token_ids_.size()); }
  // Views of what is in here, and of drawn_tokens: i32 [max_batch_size].
  ops::StepBatch Batch(const TensorView& drawn_tokens);

 private:
  struct Group {
    std::vector<int32_t> block_tables;  // [max_seqs, block_table_stride_]
    std::vector<int32_t> kv_slots;      // [T]
  };
  int64_t block_table_stride_;
  std::vector<int32_t> token_ids_, positions_, cu_seqlens_, logits_rows_, tail_slots_, adapters_;
  std::vector<Group> groups_;
  std::vector<ops::KvGroupBatch> group_views_;  // of groups_
  int64_t max_context_ = 0;
  bool is_padded_ = false;
  std::span<const ops::DrawRow> draws_;
  std::span<const ops::LogitEdit> edits_;
};

}  // namespace ingot::engine
