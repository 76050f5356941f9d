// What a memory holds of a model: how many sessions at once, how long, and the flags that get them. Everything is
// asked of the code that the server plans with (llm/model_memory.h, llm/memory_plan.h).
#pragma once

#include <optional>
#include <string>

#include "llm/memory_plan.h"
#include "llm/model_memory.h"
#include "models/model.h"

namespace ingot::plan {

// How the matrices of the layers are kept.
enum class Weights : uint8_t { kStored, kFp16, kW8A8, kW4 };
const char* WeightsName(Weights weights);  // "stored", "fp16", "w8a8", "w4"
// As AWQ and SmoothQuant leave them. REQUIRES: not kStored.
Format FormatOfWeights(Weights weights, int group_size);

// Longer sessions are not tried.
inline constexpr int64_t kLongestSession = int64_t{1} << 24;

struct Capacity {
  int64_t weights = 0;             // bytes, as packed
  int64_t free = 0;                // of the memory, without the weights; negative: they do not fit
  int64_t workspace = 0;           // with the tails of an int4 cache
  int64_t kv = 0;                  // bytes of the cache that all sessions at full length fill
  int64_t kv_bytes_per_token = 0;  // while no window has been passed
  int64_t tokens = 0;              // that the cache can hold
  int at_once = 0;                 // sessions of session_len
  int64_t longest = 0;             // of max_batch_size sessions; kLongestSession: windows bound what they hold
  // max_batch_size sessions of session_len: the cache as a share of `free`, and the flag that gets it, a share of what
  // workspace and tails leave of it too. No flag: they do not fit.
  double share_of_free = 0;
  std::optional<double> cache_max_entry_count;
  // What the server will plan with that flag.
  std::optional<llm::MemoryPlan> plan;
};

// `model` may be an outline. options: with session_len and max_batch_size, which are asked for;
// cache_max_entry_count is the most that the cache may get. REQUIRES: CheckLoadOptions(options).ok(), WithDefaults.
Capacity PlanCapacity(const models::Model& model, const llm::LoadOptions& options, int64_t memory,
                      ops::Backend& backend);

// Of one precision: the weights alone decide, the shape is the same.   name: for messages.
Result<std::unique_ptr<models::Model>> OutlineOf(const models::ModelSpec& spec, const Format& weights,
                                                 const std::string& name, ops::Backend& backend);

}  // namespace ingot::plan
