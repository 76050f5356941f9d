// For the simulation of the scheduler: requests and blocks by counting only. Which tokens a request has follows from a
// family: requests of one family begin with the same tokens, as far as both follow it.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "kv/cache.h"

namespace ingot::engine {

inline constexpr int kBlockLen = 32;
inline constexpr size_t kMaxGroupsHere = 2;
inline constexpr int kFamilies = 3;
inline constexpr int kNone = -1;

struct PlainRequest {
  enum class State : uint8_t { kWaiting, kLive, kOver };
  int64_t number = 0, rank = 0;
  int64_t prompt = 0, answer = 0;  // tokens
  size_t family = 0;
  int64_t common = 0;     // its first tokens, those of the answer too, that are its family's
  bool has_rows = false;  // the logits of its prompt are wanted
  State state = State::kWaiting;
  int64_t known = 0, computed = 0, rows_known = 0;
  std::array<std::vector<int>, kMaxGroupsHere> tables;  // blocks; kNone: behind the window
  // What the guarantees are checked with, in steps and requests.
  int64_t came = 0, ended = 0;
  int64_t steps_as_first = 0, steps_after_first = 0, steps_before_first = 0;
  int64_t overtakers = 0;     // came later and rank before it
  int64_t tokens_behind = 0;  // of those that rank after it and had slots when it came
  int64_t preemptions = 0;
  int64_t begun_when_it_came = 0;   // blocks that answers had begun
  int64_t begun_when_admitted = 0;  // the last time

  int64_t num_tokens() const { return prompt + answer - 1; }  // that are ever computed
  bool wants_rows() const { return has_rows && rows_known < prompt - 1; }
  bool RanksBefore(const PlainRequest& other) const {
    return std::pair(rank, number) < std::pair(other.rank, other.number);
  }
};

// One group's blocks.
struct PlainBlock {
  int holders = 0;
  bool cached = false;
  size_t family = 0, index = 0;  // which block of its family it is, where it is cached
};
struct PlainGroup {
  int window = 0;
  bool is_state = false;
  std::vector<PlainBlock> blocks;
  std::array<std::vector<int>, kFamilies> cached;  // [family][index] → block or kNone

  int64_t Available() const {
    return std::ranges::count_if(blocks, [](const PlainBlock& b) { return b.holders == 0; });
  }
  PlainBlock& At(int block) { return blocks[static_cast<size_t>(block)]; }
  const PlainBlock& At(int block) const { return blocks[static_cast<size_t>(block)]; }
  size_t FirstSeen(int64_t num_tokens) const {
    return window == 0 ? 0 : static_cast<size_t>(std::max<int64_t>(0, num_tokens - window + 1) / kBlockLen);
  }
  int64_t Most(int64_t num_tokens, int64_t max_chunk) const {
    return kv::MostBlocksHeld(window, {num_tokens, max_chunk, kBlockLen});
  }
  int CachedAt(size_t family, size_t index) const {
    return index < cached[family].size() ? cached[family][index] : kNone;
  }
  // A free block, else one that is cached and not held; kNone when all are held.
  int Take() {
    int taken = kNone;
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (blocks[i].holders > 0) continue;
      taken = static_cast<int>(i);
      if (!blocks[i].cached) break;
    }
    if (taken == kNone) return kNone;
    PlainBlock& block = At(taken);
    if (block.cached) cached[block.family][block.index] = kNone;
    block = {.holders = 1};
    return taken;
  }
  // The block of a family's tokens is cached now; where another is, that one serves the table.
  void Cache(size_t family, size_t index, int* own) {
    cached[family].resize(std::max(cached[family].size(), index + 1), kNone);
    int& known = cached[family][index];
    if (known == *own) return;
    if (known != kNone) {
      --At(*own).holders;
      ++At(known).holders;
      *own = known;
    } else if (!At(*own).cached) {
      known = *own;
      At(known).cached = true;
      At(known).family = family;
      At(known).index = index;
    }
  }
};

struct Hit {
  int64_t num_tokens = 0;
  bool has_part() const { return num_tokens % kBlockLen != 0; }
  size_t whole() const { return static_cast<size_t>(num_tokens / kBlockLen); }
};

}  // namespace ingot::engine
