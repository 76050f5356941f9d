// What the engine is asked for, and what it reports: token ids in, token ids out.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/report.h"
#include "ops/step_batch.h"
#include "sampling/params.h"
#include "sampling/sampler.h"

namespace ingot::engine {

using RequestId = uint64_t;
using Clock = std::chrono::steady_clock;

// In order. The last one has `finish`, and comes exactly once for every request that was accepted.
struct Event {
  RequestId id = 0;
  std::optional<sampling::Sampled> token;
  std::optional<FinishReason> finish;
  Status error;  // with kError
  Timings timings;
  int64_t cached_tokens = 0;  // of the prompt, found in the cache
  // With the first token where the request asks for it: one a token of the prompt but the first.
  std::vector<sampling::Sampled> prompt_logprobs;
};
// Called on the engine's thread; must not block, and must not call the engine's Submit or RunExclusive.
using EventFn = std::function<void(Event&&)>;

struct Request {
  std::vector<int32_t> prompt;  // not empty, ids of the model
  int64_t max_tokens = 1;
  int64_t min_tokens = 0;        // end tokens are masked before that many
  std::vector<int32_t> end_ids;  // each ends the answer
  sampling::Params sampling;
  std::vector<sampling::LogitBias> logit_bias;      // each id of the model, and once
  int prompt_logprobs = -1;                         // alternatives for each token of the prompt; -1: none are reported
  int32_t priority = 0;                             // lower ones first; waiting raises it (aging)
  std::optional<Clock::time_point> deadline;        // past it the request ends with kDeadlineExceeded
  int32_t adapter = ops::kNoAdapter;                // whose weights are added; only requests of the same share blocks
  std::string cache_salt;                           // only requests of the same salt share cached blocks
  bool uses_cached_blocks = true;                   // false: its whole prompt is computed
  bool caches_always = false;                       // without prefix caching, too: its salt is of its own
  std::shared_ptr<sampling::TokenMask> token_mask;  // what may be drawn; this request's alone; null: all tokens
  EventFn on_event;
};

}  // namespace ingot::engine
