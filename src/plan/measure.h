// A model of random weights, run under a cap of memory: what was planned against what is taken.
#pragma once

#include "llm/llm.h"
#include "llm/memory_plan.h"
#include "models/model_spec.h"
#include "tensor/format.h"

namespace ingot::plan {

struct MeasureParams {
  models::ModelSpec spec;
  Format weights;
  llm::LoadOptions options;  // with session_len and max_batch_size, as for PlanCapacity
  int64_t cap = 0;           // bytes
  // Of each of max_batch_size requests that are answered at once; prompt + answer <= session_len.
  int64_t prompt_tokens = 0, answer_tokens = 0;
};

struct Measured {
  llm::MemoryPlan plan;    // the server's, under this cap
  int64_t program = 0;     // bytes resident before the model
  int64_t kv_touched = 0;  // of plan.kv: what these requests fill
  int64_t predicted = 0;   // program + weights + workspace + tails + kv_touched
  int64_t at_most = 0;     // program + everything that is planned
  int64_t peak = 0;        // VmHWM
  double load_seconds = 0;
  double prefill_tokens_per_second = 0, decode_tokens_per_second = 0;
};

// Makes the kernel refuse memory of this process beyond the cap (RLIMIT_DATA; stacks of threads besides, of which
// little is touched), and stays so: for a process that does nothing else. A cgroup around the process holds as well:
// the smaller of the two is planned with. kResourceExhausted: the model, or these sessions, do not fit.
Result<Measured> Measure(const MeasureParams& params, ops::Backend& backend);

}  // namespace ingot::plan
