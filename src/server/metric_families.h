// Families of metrics that are made when /metrics is asked.
#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <vector>

#include "server/metrics.h"

namespace ingot::server {

using MetricLabels = std::vector<prometheus::ClientMetric::Label>;

struct Sample {
  const char *name, *help;
  prometheus::MetricType type;  // a counter or a gauge
  double value;
};

// Samples of one name follow each other.
void Append(const Sample& sample, const MetricLabels& labels, std::vector<prometheus::MetricFamily>* families);
void AppendStepTokens(const engine::StepTokens& counts, const MetricLabels& labels,
                      std::vector<prometheus::MetricFamily>* families);

// Adds what dashboards for vLLM, or LMDeploy, read, made of our own families.
void AppendVllmNames(const MetricsOptions& options, const Metrics::Server& server,
                     std::vector<prometheus::MetricFamily>* families);
void AppendLmdeployNames(const MetricsOptions& options, const Metrics::Server& server,
                         std::vector<prometheus::MetricFamily>* families);

}  // namespace ingot::server
