// A request that has a slot.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "engine/request.h"
#include "kv/block_table.h"
#include "sampling/history.h"

namespace ingot::engine {

using Clock = std::chrono::steady_clock;

// Invariants: num_computed < tokens.size() while it is live: the last token drawn has not been through the model.
// tokens, blocks and history have room for the whole answer from the start. Its tokens are the truth: blocks can be
// computed anew from them.
struct Sequence {
  RequestId id = 0;
  Request request;
  std::vector<int32_t> tokens;  // prompt and answer
  int64_t num_computed = 0;     // tokens whose K and V are in the cache
  kv::BlockTable blocks;
  int64_t max_blocks = 0;     // reserved for it
  sampling::History history;  // used where the request penalizes
  int64_t admission = 0;      // counts up; the smallest is the oldest
  Clock::time_point submitted, admitted, first_token;

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_answered() const { return static_cast<int64_t>(tokens.size() - request.prompt.size()); }
  bool IsEnd(int32_t id_drawn) const {
    return std::find(request.end_ids.begin(), request.end_ids.end(), id_drawn) != request.end_ids.end();
  }
};

// K and V are kept of all tokens but the last one drawn, which no later step reads.
inline int64_t MaxCachedTokens(const Request& request) {
  return static_cast<int64_t>(request.prompt.size()) + request.max_tokens - 1;
}

}  // namespace ingot::engine
