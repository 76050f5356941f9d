// Runs a model over blocks of KV as the engine would, for tests: several sequences, in chunks, blocks in any order.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "models/model.h"

namespace ingot::models {

struct RunOptions {
  ops::Compute compute = ops::Compute::kExact;
  ops::KvFormat kv = ops::KvFormat::kF32;
  int64_t chunk = 1 << 20;  // tokens of a sequence per step
};

struct Sequence {
  std::vector<int32_t> tokens;
  std::vector<float> logits = {};  // [tokens, vocab_size]
  int64_t done = 0;
};

class TestRunner {
 public:
  // `model` was loaded for `backend`.
  TestRunner(const Model& model, ops::Backend& backend, const RunOptions& options)
      : model_(model),
        options_(options),
        context_{.backend = &backend, .scratch = &scratch_, .compute = options.compute} {}

  // Takes every sequence from its first token to its last; fills in the logits of all of them.
  void Run(std::vector<Sequence>* sequences) {
    Allocate(*sequences);
    while (Step(sequences)) {
    }
  }

 private:
  static constexpr int kBlockLen = 32;

  void Allocate(const std::vector<Sequence>& sequences) {
    int64_t longest = 0, most_tokens = 0;
    for (const Sequence& s : sequences) {
      const auto tokens = static_cast<int64_t>(s.tokens.size());
      longest = std::max(longest, tokens);
      most_tokens += std::min(tokens, options_.chunk);
    }
    stride_ = (longest + kBlockLen - 1) / kBlockLen;
    const auto num_seqs = static_cast<int64_t>(sequences.size());
    const auto num_blocks = static_cast<int32_t>(stride_ * num_seqs);
    for (const KvGroup& group : model_.kv_groups()) {
      const ops::KvLayout layout = model_.KvLayoutFor(*context_.backend, group, kBlockLen, options_.kv);
      // What was never written is NaN: reading it shows.
      kv_.push_back(Garbage(layout.block_bytes * num_blocks));
      tails_.push_back(Garbage(layout.tail_bytes * num_seqs));
      views_.push_back({.layout = layout,
                        .data = kv_.back().data(),
                        .num_blocks = num_blocks,
                        .tails = tails_.back().data(),
                        .num_tails = static_cast<int32_t>(num_seqs)});
    }
    for (int32_t i = 0; i < num_blocks; ++i) tables_.push_back(num_blocks - 1 - i);
    const ForwardLimits limits{.step = {.max_tokens = most_tokens, .max_seqs = num_seqs, .max_context = longest},
                               .max_logits = most_tokens,
                               .kv_format = options_.kv};
    scratch_ = *ops::Scratch::Allocate(*context_.backend, model_.ScratchBytes(*context_.backend, limits));
  }

  Buffer Garbage(int64_t bytes) {
    const std::vector<std::byte> garbage(static_cast<size_t>(bytes), std::byte{0xFF});
    Buffer buffer = *context_.backend->Allocate(bytes);
    context_.backend->Upload(buffer.data(), garbage.data(), bytes);
    return buffer;
  }

  bool Step(std::vector<Sequence>* sequences) {
    std::vector<int32_t> ids, positions, kv_slots, rows, tables, tail_slots, cu_seqlens = {0};
    std::vector<Sequence*> live;
    int64_t max_context = 0;
    for (size_t s = 0; s < sequences->size(); ++s) {
      Sequence& sequence = (*sequences)[s];
      const int64_t left = static_cast<int64_t>(sequence.tokens.size()) - sequence.done;
      const int64_t count = std::min(left, options_.chunk);
      if (count == 0) continue;
      const int32_t* table = tables_.data() + static_cast<int64_t>(s) * stride_;
      for (int64_t p = sequence.done; p < sequence.done + count; ++p) {
        rows.push_back(static_cast<int32_t>(ids.size()));
        ids.push_back(sequence.tokens[static_cast<size_t>(p)]);
        positions.push_back(static_cast<int32_t>(p));
        kv_slots.push_back(table[p / kBlockLen] * kBlockLen + static_cast<int32_t>(p % kBlockLen));
      }
      tables.insert(tables.end(), table, table + stride_);
      tail_slots.push_back(static_cast<int32_t>(sequences->size() - 1 - s));
      cu_seqlens.push_back(static_cast<int32_t>(ids.size()));
      sequence.done += count;
      max_context = std::max(max_context, sequence.done);
      live.push_back(&sequence);
    }
    if (ids.empty()) return false;
    const auto vocab = static_cast<int64_t>(model_.spec().vocab_size);
    const Tensor logits = *ops::AllocateTensor(*context_.backend, DType::kF32, {std::ssize(ids), vocab});
    const std::vector<ops::KvGroupBatch> groups(
        views_.size(), {.block_tables = tables, .block_table_stride = stride_, .kv_slots = kv_slots});
    const ops::StepBatch batch{.token_ids = ids,
                               .positions = positions,
                               .cu_seqlens = cu_seqlens,
                               .groups = groups,
                               .tail_slots = tail_slots,
                               .logits_rows = rows,
                               .max_context = max_context};
    INGOT_CHECK(model_.Forward(context_, batch, views_, logits.view()).ok());
    const float* const from = context_.backend->ReadBack(logits.view());
    for (size_t s = 0; s < live.size(); ++s) {
      live[s]->logits.insert(live[s]->logits.end(), from + cu_seqlens[s] * vocab, from + cu_seqlens[s + 1] * vocab);
    }
    return true;
  }

  const Model& model_;
  const RunOptions options_;
  ops::Scratch scratch_;
  const ops::Context context_;
  std::vector<Buffer> kv_, tails_;  // one a group
  std::vector<ops::KvView> views_;  // one a group
  std::vector<int32_t> tables_;     // [sequences, stride_], the same in every group
  int64_t stride_ = 0;
};

}  // namespace ingot::models
