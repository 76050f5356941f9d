// The server's counters as Triton's statistics.
#pragma once

#include "kserve/model_info.h"
#include "server/server_context.h"

namespace ingot::server {

inline kserve::Statistics StatisticsOf(const ServerContext& context, const llm::Llm& llm) {
  const Metrics::Totals totals = context.metrics.totals();
  return {.succeeded = totals.succeeded,
          .failed = totals.failed,
          .succeeded_ns = totals.succeeded_ns,
          .failed_ns = totals.failed_ns,
          .answers = totals.answers,
          .queue_ns = totals.queue_ns,
          .inference_ns = totals.inference_ns,
          .steps = static_cast<uint64_t>(llm.stats().steps),
          .last_ms = totals.last_ms};
}

}  // namespace ingot::server
