// The server's counters as Triton's statistics.
#pragma once

#include "kserve/model_info.h"
#include "server/server_context.h"

namespace ingot::server {

inline kserve::Statistics StatisticsOf(const ServerContext& context, const llm::Llm& llm) {
  kserve::Statistics statistics = context.metrics.statistics();
  statistics.steps = static_cast<uint64_t>(llm.stats().steps);
  return statistics;
}

}  // namespace ingot::server
