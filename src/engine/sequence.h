// A request from the queue to its end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/request.h"
#include "kv/cache.h"
#include "sampling/history.h"

namespace ingot::engine {

// Invariants: num_computed < tokens.size() + num_drawing while it has a slot: the last token drawn has not been through
// the model.
// Tokens, tables and history have room for the whole answer once it has had a slot. Its tokens are the truth: blocks
// can be recomputed from them, which is what happens after it was preempted.
struct Sequence {
  RequestId id = 0;
  Request request;              // its prompt has moved to `tokens`
  int64_t rank = 0;             // lower ones first
  kv::PrefixScopePtr scope;     // whose blocks it may share
  std::vector<int32_t> tokens;  // prompt and answer
  int64_t prompt_length = 0;
  int64_t num_computed = 0;     // tokens whose K and V are in the cache, or will be when what was launched has run
  int64_t num_drawing = 0;      // tokens that a launched step draws, not collected yet
  std::vector<int32_t> drafts;  // guesses at the tokens after these, for the next step to check
  int64_t num_cached = 0;       // of the prompt, found there when it was first admitted
  bool was_admitted = false;    // once at least
  kv::Holding blocks;
  sampling::History history;                       // used where the request penalizes
  std::vector<sampling::Sampled> prompt_logprobs;  // of the prompt's second token on, as far as they are known
  Clock::time_point submitted, admitted, first_token;

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_answered() const { return num_tokens() - prompt_length; }
  // K and V are kept of all tokens but the last one drawn, which no later step reads.
  int64_t most_cached_tokens() const { return prompt_length + request.max_tokens - 1; }
  bool wants_prompt_logprobs() const {
    return request.prompt_logprobs >= 0 && static_cast<int64_t>(prompt_logprobs.size()) < prompt_length - 1;
  }
  // Whether its next draw depends on the last token in a way that only the host can compute: then the token must be
  // collected first.
  bool NeedsLastToken() const {
    return request.sampling.penalizes() || request.token_mask || num_answered() < request.min_tokens;
  }
  // What must not be drawn now: end tokens while the answer is too short.
  std::span<const int32_t> Masked() const {
    return num_answered() < request.min_tokens ? std::span(request.end_ids) : std::span<const int32_t>();
  }
  bool IsEnd(int32_t id_drawn) const {
    return std::find(request.end_ids.begin(), request.end_ids.end(), id_drawn) != request.end_ids.end();
  }
};

}  // namespace ingot::engine
