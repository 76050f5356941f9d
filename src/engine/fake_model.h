// For tests: a model whose logits are a hash of the sequence's own tokens, read back from the KV cache through the
// block table, where it has a window, of what the window sees, read from that group's cache, and where it has a state,
// of all tokens that went into that. A wrong position, slot, table, state or chunk border changes every answer.
#pragma once

#include <atomic>
#include <cstring>
#include <functional>
#include <limits>
#include <unordered_set>

#include "base/check.h"
#include "base/hash.h"
#include "models/model.h"

namespace ingot::engine {

class FakeModel : public models::Model {
 public:
  static constexpr int32_t kNanToken = 13;  // a sequence with it has logits of NaN

  // What its layers keep: the first K and V of all tokens; window > 0: a second one, which sees so many positions;
  // then, or alone, one with a state.
  enum class States : uint8_t { kNone, kToo, kOnly };
  explicit FakeModel(int64_t vocab_size, int64_t max_position = 4096, int window = 0, States states = States::kNone) {
    spec_.family = "fake";
    spec_.vocab_size = vocab_size;
    spec_.hidden_size = 4;
    spec_.num_layers = 1;
    spec_.max_position = max_position;
    const models::LayerSpec layer{.num_heads = 1, .num_kv_heads = 1, .head_dim = 8, .value_head_dim = 8};
    if (states != States::kOnly) spec_.layers.push_back(layer);
    if (window > 0 && states != States::kOnly) {
      spec_.layers.push_back(layer);
      spec_.layers.back().window = window;
    }
    if (states != States::kNone) {
      spec_.layers.push_back(layer);
      spec_.layers.back().attention = models::LayerSpec::Attention::kLinear;
    }
    spec_.num_layers = static_cast<int>(spec_.layers.size());
  }

  const models::ModelSpec& spec() const override { return spec_; }
  int64_t weight_bytes() const override { return 1000; }
  int num_adapters() const override { return 3; }
  std::vector<models::WeightInfo> weights() const override { return {}; }
  int64_t ScratchBytes(const ops::Backend&, const models::ForwardLimits&) const override { return 64; }

  Status Forward(const ops::Context&, const ops::StepBatch& batch, std::span<const ops::KvView> kv,
                 const TensorView& logits, const models::LayerTap* tap) const override {
    if (on_forward) on_forward(batch);
    INGOT_CHECK(kv.size() == spec_.layers.size() && batch.groups.size() == kv.size());
    if (fails && fails()) {
      for (size_t g = 0; g < kv.size(); ++g) WriteGarbage(batch.groups[g], kv[g]);
      return Internal("the forward pass failed").value();
    }
    const bool has_tails = kv[0].layout.format == ops::KvFormat::kI4;
    for (size_t g = 0; g < kv.size() && !has_tails; ++g) {
      if (!IsState(g)) Write(batch, batch.groups[g], kv[g]);
    }
    int64_t row = 0;
    for (int64_t seq = 0; seq < batch.num_seqs(); ++seq) {
      for (int32_t t = At(batch.cu_seqlens, seq); t < At(batch.cu_seqlens, seq + 1); ++t) {
        const Cell cell{TokenOf(batch, t), At(batch.positions, t)};
        for (size_t g = 0; g < kv.size(); ++g) {
          if (IsState(g)) Advance(TextOf(batch, g, seq, kv[g]), cell);
          if (!IsState(g) && has_tails)
            WriteToTail(TextOf(batch, g, seq, kv[g]), cell, At(batch.groups[g].kv_slots, t));
        }
        if (row == std::ssize(batch.logits_rows) || At(batch.logits_rows, row) != t) continue;
        uint64_t hash = salt + 1 + static_cast<uint64_t>(At(batch.adapters, seq) - ops::kNoAdapter);
        for (size_t g = 0; g < kv.size() && hash != 0; ++g) {
          const Query query{cell.position, spec_.layers[g].window};
          const Text text = TextOf(batch, g, seq, kv[g]);
          hash = IsState(g) ? HashOfState(hash, text, cell.position) : HashOfSeen(hash, text, query);
        }
        FillRow(hash, logits.Data<float>() + row++ * spec_.vocab_size);
      }
    }
    INGOT_CHECK(row == std::ssize(batch.logits_rows));
    if (tap != nullptr) {
      const std::vector<float> hidden(static_cast<size_t>(batch.num_tokens() * spec_.hidden_size), hidden_value);
      for (int layer = -1; layer <= spec_.num_layers; ++layer) (*tap)(layer, hidden.data(), batch.num_tokens());
    }
    return {};
  }

  std::function<void(const ops::StepBatch&)> on_forward;
  std::function<bool()> fails;  // whether this pass does: then its blocks are garbage, from which logits are NaN
  uint64_t salt = 0;            // another salt is another model
  float hidden_value = 1.0f;    // what a tap sees

 private:
  template <typename T>
  static T At(std::span<const T> values, int64_t i) {
    INGOT_CHECK(i >= 0 && i < std::ssize(values));
    return values[static_cast<size_t>(i)];
  }
  static int32_t TokenOf(const ops::StepBatch& batch, int64_t t) {
    const int32_t id = At(batch.token_ids, t);
    if (id >= 0) return id;
    return At(std::span<const int32_t>(batch.drawn_tokens.Data<int32_t>(), batch.drawn_tokens.shape[0]), ~id);
  }
  struct Cell {
    int32_t token, position;
  };
  static constexpr int32_t kGarbage = -1;  // a position or a count in a block that a failed pass left
  // What a sequence has written to the cache of a group: in its blocks, but with an int4 cache what comes after the
  // last multiple of 32 in its tail.
  struct Text {
    const int32_t* table;
    const ops::KvView& kv;
    std::byte* tail;  // null except for int4

    std::byte* TailCell(int64_t position) const {
      return tail + position % ops::kKvTile * static_cast<int64_t>(sizeof(Cell));
    }
  };
  static Text TextOf(const ops::StepBatch& batch, size_t group, int64_t seq, const ops::KvView& kv) {
    const ops::KvGroupBatch& where = batch.groups[group];
    const bool has_tail = kv.layout.format == ops::KvFormat::kI4;
    return {
        where.block_tables.data() + seq * where.block_table_stride, kv,
        has_tail && kv.layout.tail_bytes > 0 ? kv.tails + At(batch.tail_slots, seq) * kv.layout.tail_bytes : nullptr};
  }
  // Each layer is a group of its own.
  bool IsState(size_t group) const { return spec_.layers[group].state_bytes() > 0; }
  // Of all tokens up to a position; [head_dim, value_head_dim] f32 have room for it.
  struct State {
    uint64_t hash;
    int32_t num_tokens, poisoned;
  };
  static std::byte* StateAt(const Text& text, int64_t position) {
    const int32_t block = text.table[position / text.kv.layout.block_len];
    INGOT_CHECK(block >= 0 && block < text.kv.num_blocks);
    return text.kv.data + block * text.kv.layout.block_bytes;
  }
  static void Advance(const Text& text, Cell cell) {
    State state{};
    if (cell.position > 0) std::memcpy(&state, StateAt(text, cell.position - 1), sizeof(state));
    if (state.num_tokens == kGarbage) return;
    INGOT_CHECK(state.num_tokens == cell.position);
    state.hash = MixBits(state.hash + static_cast<uint64_t>(cell.token) + kMixStep);
    state.poisoned |= cell.token == kNanToken ? 1 : 0;
    ++state.num_tokens;
    std::memcpy(StateAt(text, cell.position), &state, sizeof(state));
  }
  static uint64_t HashOfState(uint64_t hash, const Text& text, int32_t position) {
    State state;
    std::memcpy(&state, StateAt(text, position), sizeof(state));
    if (state.num_tokens == kGarbage) return 0;
    INGOT_CHECK(state.num_tokens == position + 1);
    return state.poisoned != 0 ? 0 : MixBits(hash ^ state.hash);
  }
  static std::byte* CellAt(const ops::KvView& kv, int64_t slot) {
    INGOT_CHECK(slot >= 0 && slot < int64_t{kv.num_blocks} * kv.layout.block_len);
    return kv.data + slot / kv.layout.block_len * kv.layout.block_bytes +
           slot % kv.layout.block_len * (kv.layout.block_bytes / kv.layout.block_len);
  }

  void Write(const ops::StepBatch& batch, const ops::KvGroupBatch& group, const ops::KvView& kv) const {
    int32_t furthest = 0;
    for (int64_t t = 0; t < batch.num_tokens(); ++t) {
      const Cell cell{TokenOf(batch, t), At(batch.positions, t)};
      furthest = std::max(furthest, cell.position);
      std::memcpy(CellAt(kv, At(group.kv_slots, t)), &cell, sizeof(cell));
    }
    INGOT_CHECK(batch.max_context == furthest + 1);
  }

  static void WriteGarbage(const ops::KvGroupBatch& group, const ops::KvView& kv) {
    for (const int32_t slot : group.kv_slots) {
      std::memset(kv.data + slot / kv.layout.block_len * kv.layout.block_bytes, 0xFF,
                  static_cast<size_t>(kv.layout.block_bytes));
    }
  }

  // A full tail goes into the cache.
  static void WriteToTail(const Text& text, Cell cell, int64_t slot) {
    std::memcpy(text.TailCell(cell.position), &cell, sizeof(cell));
    if (cell.position % ops::kKvTile != ops::kKvTile - 1) return;
    for (int64_t i = 0; i < ops::kKvTile; ++i) {
      std::memcpy(CellAt(text.kv, slot - ops::kKvTile + 1 + i), text.TailCell(i), sizeof(cell));
    }
  }

  struct Query {
    int32_t position;
    int window;  // 0: it sees all before it
  };
  static uint64_t HashOfSeen(uint64_t hash, const Text& text, Query query) {
    hash = MixBits(hash);
    const int block_len = text.kv.layout.block_len;
    bool poisoned = false;
    const int32_t first = query.window > 0 ? std::max(0, query.position - query.window + 1) : 0;
    for (int32_t position = first; position <= query.position; ++position) {
      Cell cell;
      const int64_t slot = int64_t{text.table[position / block_len]} * block_len + position % block_len;
      const bool in_tail = text.tail != nullptr && position / ops::kKvTile == query.position / ops::kKvTile;
      std::memcpy(&cell, in_tail ? text.TailCell(position) : CellAt(text.kv, slot), sizeof(cell));
      INGOT_CHECK(cell.position == position || cell.position == kGarbage);
      poisoned = poisoned || cell.token == kNanToken || cell.position == kGarbage;
      hash = MixBits(hash + static_cast<uint64_t>(cell.token) + kMixStep);
    }
    return poisoned ? 0 : hash;
  }

  void FillRow(uint64_t hash, float* row) const {
    for (int64_t id = 0; id < spec_.vocab_size; ++id) {
      // 20 bits in [-4, 4): exact in a float.
      row[id] = static_cast<float>(MixBits(hash + static_cast<uint64_t>(id)) >> 44) * 0x1p-17f - 4.0f;
      if (hash == 0) row[id] = std::numeric_limits<float>::quiet_NaN();
    }
    if (hash != 0) row[kNanToken % spec_.vocab_size] = -std::numeric_limits<float>::infinity();
  }

  models::ModelSpec spec_;
};

}  // namespace ingot::engine
