// How memory is shared out before it is taken.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/topology.h"
#include "llm/llm.h"

namespace ingot::llm {

// A group of layers by what they cache (models::KvGroup).
struct CacheGroup {
  int window = 0;           // 0: every position
  int64_t block_bytes = 1;  // of a block, all layers of the group
  bool is_state = false;    // a block is a state; window is kv::kStateWindow
};

struct MemoryNeeds {
  int64_t weights = 0;         // bytes as packed
  int64_t mapped_weights = 0;  // of these, in a mapped file
  std::vector<CacheGroup> groups;
  int64_t kv_tails = 0;                                   // bytes of all slots' tails (int4 cache)
  int64_t max_position = 0;                               // what the model was trained for
  std::function<int64_t(int64_t session_len)> workspace;  // bytes
};

struct MemoryPlan {
  int64_t weights = 0, mapped_weights = 0, kv = 0, kv_tails = 0, workspace = 0;  // bytes
  std::vector<int32_t> num_blocks;                                               // one a group
  std::vector<CacheGroup> groups;                                                // as they were needed
  int64_t session_len = 0;
  int max_batch_size = 0;
  int64_t full_sessions = 0;  // of session_len tokens: as many as the cache holds at once
  std::string shortened;      // where the cache cut session_len below the model's: a warning that says so
};

// REQUIRES: CheckLoadOptions(options).ok(), max_batch_size set. `available` is what may still be taken besides the
// weights. Where some layers see a window only, or keep a state, their blocks are as many as the slots can hold, and as
// many again for later hits; the others get the rest. The cache gets kv_cache_bytes, or cache_max_entry_count of what
// the workspace leaves: on a CPU no more of it than max_batch_size sessions can use. Without a session_len of the
// caller's, sessions are as long as the model and the cache allow, and `shortened` says where that is less than the
// model's. kResourceExhausted names the option and the value that would fit.
Result<MemoryPlan> PlanMemory(const LoadOptions& options, const MemoryNeeds& needs, int64_t available);

// "fp32", "fp16", "bf16", "int8" or "int4". Of a PyTorch model, pytorch_dtype is what it was loaded with.
const char* KvFormatName(const LoadOptions& options);
std::string FormatLedger(const MemoryPlan& plan, const LoadOptions& options, const MemoryAllowance& memory);

}  // namespace ingot::llm
