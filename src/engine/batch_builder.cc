#include "engine/batch_builder.h"

#include <algorithm>

namespace ingot::engine {

BatchBuilder::BatchBuilder(const Limits& limits)
    : block_table_stride_(kv::BlocksFor(limits.max_context, limits.block_len)),
      groups_(static_cast<size_t>(limits.num_groups)),
      group_views_(groups_.size()) {
  const auto max_tokens = static_cast<size_t>(limits.max_tokens);
  const auto max_seqs = static_cast<size_t>(limits.max_seqs);
  for (auto* of_tokens : {&token_ids_, &positions_, &logits_rows_}) of_tokens->reserve(max_tokens);
  cu_seqlens_.reserve(max_seqs + 1);
  for (auto* of_seqs : {&tail_slots_, &adapters_}) of_seqs->reserve(max_seqs);
  for (Group& group : groups_) {
    group.block_tables.resize(max_seqs * static_cast<size_t>(block_table_stride_));
    group.kv_slots.reserve(max_tokens);
  }
}

void BatchBuilder::Clear() {
  for (auto* all : {&token_ids_, &positions_, &logits_rows_, &tail_slots_, &adapters_}) all->clear();
  cu_seqlens_.assign(1, 0);
  for (Group& group : groups_) group.kv_slots.clear();
  max_context_ = 0;
  is_padded_ = false;
  SetDraws({}, {});
}

void BatchBuilder::AddTokens(std::span<const int32_t> token_ids) {
  token_ids_.insert(token_ids_.end(), token_ids.begin(), token_ids.end());
}

void BatchBuilder::EndSequence(const Sequence& sequence, const kv::Holding& blocks) {
  const size_t seq = cu_seqlens_.size() - 1;
  const int64_t begin = sequence.begin, end = begin + num_tokens() - cu_seqlens_.back();
  for (int64_t position = begin; position < end; ++position) positions_.push_back(static_cast<int32_t>(position));
  for (size_t g = 0; g < groups_.size(); ++g) {
    const kv::BlockTable& table = blocks.tables[g];
    for (int64_t position = begin; position < end; ++position) groups_[g].kv_slots.push_back(table.KvSlotOf(position));
    std::ranges::copy(table.ids(), groups_[g].block_tables.begin() +
                                       static_cast<std::ptrdiff_t>(seq * static_cast<size_t>(block_table_stride_)));
  }
  cu_seqlens_.push_back(static_cast<int32_t>(token_ids_.size()));
  tail_slots_.push_back(sequence.slot);
  adapters_.push_back(sequence.adapter);
  max_context_ = std::max(max_context_, end);
}

void BatchBuilder::PadDecodes(int64_t count) {
  is_padded_ = true;
  const auto begin = static_cast<int32_t>(num_tokens());
  for (int32_t token = begin; token < count; ++token) {
    for (auto* zeros : {&token_ids_, &positions_, &tail_slots_}) zeros->push_back(0);
    adapters_.push_back(ops::kNoAdapter);
    logits_rows_.push_back(token);
    cu_seqlens_.push_back(token + 1);
    for (Group& group : groups_) group.kv_slots.push_back(ops::kNoSlot);
  }
}

ops::StepBatch BatchBuilder::Batch(const TensorView& drawn_tokens) {
  const size_t num_seqs = cu_seqlens_.size() - 1;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const std::span<const int32_t> tables = groups_[g].block_tables;
    group_views_[g] = {.block_tables = tables.first(num_seqs * static_cast<size_t>(block_table_stride_)),
                       .block_table_stride = block_table_stride_,
                       .kv_slots = groups_[g].kv_slots};
  }
  return {.token_ids = token_ids_,
          .drawn_tokens = drawn_tokens,
          .positions = positions_,
          .cu_seqlens = cu_seqlens_,
          .groups = group_views_,
          .tail_slots = tail_slots_,
          .adapters = adapters_,
          .logits_rows = logits_rows_,
          .max_context = max_context_,
          .is_padded = is_padded_,
          .draws = draws_,
          .edits = edits_};
}

}  // namespace ingot::engine
