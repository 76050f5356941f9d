// From a model and options to what they need of memory: the one place that both the server and `ingot plan` ask.
#pragma once

#include "engine/executor.h"
#include "llm/llm.h"
#include "llm/memory_plan.h"
#include "models/model.h"

namespace ingot::llm {

// num_threads and max_batch_size, where they were left open.
LoadOptions WithDefaults(LoadOptions options);

// REQUIRES (both): CheckLoadOptions(options).ok(), and WithDefaults was applied.
// num_blocks and max_context are left for the plan to say.
engine::ExecutorOptions ExecutorOptionsOf(const LoadOptions& options);
// An outline of a model will do. `model` and `backend` outlive the result.
MemoryNeeds NeedsOf(const models::Model& model, const LoadOptions& options, const ops::Backend& backend);

}  // namespace ingot::llm
