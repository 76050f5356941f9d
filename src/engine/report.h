// What the engine reports of its requests and of itself, as plain data without the engine's other headers.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace ingot::engine {

enum class FinishReason : uint8_t {
  kStop,       // an end token was drawn; it is the last token reported
  kLength,     // max_tokens were drawn
  kCancelled,  // by Cancel, or because the engine stops
  kError       // its logits are no numbers, nothing can be drawn, or its deadline has passed
};

// "stop", "length", "cancelled", "error".
constexpr const char* FinishReasonName(FinishReason reason) {
  constexpr const char* kNames[] = {"stop", "length", "cancelled", "error"};
  return kNames[static_cast<size_t>(reason)];
}

struct Timings {
  double queue_seconds = 0, prefill_seconds = 0, decode_seconds = 0;  // up to the event that reports them
};

// How many tokens steps compute, as a histogram.
struct StepTokens {
  static constexpr std::array<int64_t, 14> kUpTo = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
  std::array<int64_t, kUpTo.size() + 1> steps{};  // [i]: that computed more than kUpTo[i - 1] and up to kUpTo[i] tokens
  int64_t tokens = 0;                             // of all steps

  void Add(int64_t step_tokens) {
    ++steps[static_cast<size_t>(std::lower_bound(kUpTo.begin(), kUpTo.end(), step_tokens) - kUpTo.begin())];
    tokens += step_tokens;
  }
};

// What the engine is doing, and what it has done since the start (the totals only grow).
struct Stats {
  int running = 0, waiting = 0;  // requests
  int max_batch_size = 0;
  double oldest_waiting_seconds = 0;  // how long the queue's oldest request has waited
  double stalled_seconds = 0;         // since the last progress while there is work; 0 when idle
  int64_t total_blocks = 0, free_blocks = 0, cached_blocks = 0;  // of all groups; in use: total - free - cached
  int64_t steps = 0, preemptions = 0, cancelled = 0;
  int64_t prompt_tokens = 0, generated_tokens = 0;      // prompt: of admitted requests
  int64_t prefix_queries = 0, prefix_hits = 0;          // tokens of prompts looked up, and found in the cache
  int64_t draft_tokens = 0, accepted_draft_tokens = 0;  // that speculation had checked, and that were drawn
  int64_t max_running = 0;                              // most requests in one step
  StepTokens step_tokens;
};

}  // namespace ingot::engine
