#include "server/metric_families.h"

#include <algorithm>
#include <limits>
#include <span>
#include <string_view>

namespace ingot::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// One of our families under another name, and one of its labels, too.
struct Alias {
  const char *ours, *theirs;
  std::string_view our_label = {}, their_label = {};
};
constexpr Alias kVllm[] = {
    {"ingot_num_requests_running", "vllm:num_requests_running"},
    {"ingot_num_requests_waiting", "vllm:num_requests_waiting"},
    {"ingot_kv_cache_usage_ratio", "vllm:kv_cache_usage_perc"},
    {"ingot_kv_cache_usage_ratio", "vllm:gpu_cache_usage_perc"},
    {"ingot_preemptions_total", "vllm:num_preemptions_total"},
    {"ingot_prompt_tokens_total", "vllm:prompt_tokens_total"},
    {"ingot_generation_tokens_total", "vllm:generation_tokens_total"},
    {"ingot_prefix_cache_queries_total", "vllm:prefix_cache_queries_total"},
    {"ingot_prefix_cache_hits_total", "vllm:prefix_cache_hits_total"},
    {"ingot_draft_tokens_total", "vllm:spec_decode_num_draft_tokens_total"},
    {"ingot_accepted_draft_tokens_total", "vllm:spec_decode_num_accepted_tokens_total"},
    {"ingot_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"},
    {"ingot_inter_token_latency_seconds", "vllm:inter_token_latency_seconds"},
    {"ingot_time_per_output_token_seconds", "vllm:request_time_per_output_token_seconds"},
    {"ingot_e2e_request_latency_seconds", "vllm:e2e_request_latency_seconds"},
    {"ingot_request_queue_time_seconds", "vllm:request_queue_time_seconds"},
    {"ingot_request_prefill_time_seconds", "vllm:request_prefill_time_seconds"},
    {"ingot_request_decode_time_seconds", "vllm:request_decode_time_seconds"},
    {"ingot_request_prompt_tokens", "vllm:request_prompt_tokens"},
    {"ingot_request_generation_tokens", "vllm:request_generation_tokens"},
    {"ingot_prefix_cache_hits_total", "vllm:prompt_tokens_cached_total"},
    {"ingot_request_inference_time_seconds", "vllm:request_inference_time_seconds"},
    {"ingot_step_tokens", "vllm:iteration_tokens_total"},
    {"ingot_requests_total", "vllm:request_success_total", "outcome", "finished_reason"},
    {"ingot_rejected_total", "vllm:admission_rejections_total"},
    {"ingot_cache_config_info", "vllm:cache_config_info", "num_blocks", "num_gpu_blocks"},
};
constexpr Alias kLmdeploy[] = {
    {"ingot_num_requests_running", "lmdeploy:num_requests_running"},
    {"ingot_num_requests_waiting", "lmdeploy:num_requests_waiting"},
    {"ingot_kv_cache_usage_ratio", "lmdeploy:gpu_cache_usage_perc"},
    {"ingot_prompt_tokens_total", "lmdeploy:prompt_tokens_total"},
    {"ingot_generation_tokens_total", "lmdeploy:generation_tokens_total"},
    {"ingot_prefix_cache_hits_total", "lmdeploy:cached_tokens_total"},
    {"ingot_time_to_first_token_seconds", "lmdeploy:time_to_first_token_seconds"},
    {"ingot_time_per_output_token_seconds", "lmdeploy:time_per_output_token_seconds"},
    {"ingot_inter_token_latency_seconds", "lmdeploy:iter_token_latency"},
    {"ingot_e2e_request_latency_seconds", "lmdeploy:e2e_request_latency_seconds"},
    {"ingot_request_queue_time_seconds", "lmdeploy:request_queue_time_seconds"},
    {"ingot_request_prefill_time_seconds", "lmdeploy:request_prefill_time_seconds"},
    {"ingot_request_decode_time_seconds", "lmdeploy:request_decode_time_seconds"},
    {"ingot_request_prompt_tokens", "lmdeploy:request_prompt_tokens"},
    {"ingot_request_generation_tokens", "lmdeploy:request_generation_tokens"},
    {"ingot_num_requests_unread", "lmdeploy:num_api_requests_waiting"},
    {"ingot_request_inference_time_seconds", "lmdeploy:request_inference_time_seconds"},
    {"ingot_step_tokens", "lmdeploy:iteration_tokens_total"},
    {"ingot_request_cached_tokens", "lmdeploy:request_cached_tokens"},
    {"ingot_request_cache_hit_ratio", "lmdeploy:request_cache_hit_ratio"},
    {"ingot_requests_total", "lmdeploy:request_success_total", "outcome", "finished_reason"},
};

// As their engines number themselves; there is one.
const ClientMetric::Label kEngine = {"engine", "0"};

MetricLabels LabelsOf(const MetricsOptions& options) { return {{"model_name", options.model_name}, kEngine}; }

MetricFamily Renamed(MetricFamily family, const Alias& alias, const MetricsOptions& options) {
  family.name = alias.theirs;
  for (ClientMetric& metric : family.metric) {
    bool has_model = false;
    for (ClientMetric::Label& label : metric.label) {
      has_model |= label.name == "model_name";
      if (label.name == "outcome" && label.value == "cancelled") label.value = "abort";
      if (label.name == alias.our_label) label.name = alias.their_label;
    }
    if (!has_model) metric.label.push_back({"model_name", options.model_name});
    metric.label.push_back(kEngine);
  }
  return family;
}

void AppendAliases(std::span<const Alias> aliases, const MetricsOptions& options, std::vector<MetricFamily>* families) {
  for (const Alias& alias : aliases) {
    const auto family = std::ranges::find(*families, alias.ours, &MetricFamily::name);
    if (family != families->end()) families->push_back(Renamed(*family, alias, options));
  }
}

// Of our requests that ended, those that `counts` says yes to.
template <typename Counts>
double SumOfOutcomes(const std::vector<MetricFamily>& families, const Counts& counts) {
  double sum = 0;
  const auto family = std::ranges::find(families, "ingot_requests_total", &MetricFamily::name);
  if (family == families.end()) return 0;
  for (const ClientMetric& metric : family->metric) {
    for (const ClientMetric::Label& label : metric.label) {
      if (label.name == "outcome" && counts(label.value)) sum += metric.counter.value;
    }
  }
  return sum;
}

}  // namespace

void Append(const Sample& sample, const MetricLabels& labels, std::vector<MetricFamily>* families) {
  ClientMetric metric;
  metric.label = labels;
  metric.gauge.value = metric.counter.value = sample.value;
  if (!families->empty() && families->back().name == sample.name) {
    families->back().metric.push_back(metric);
  } else {
    families->push_back({sample.name, sample.help, sample.type, {metric}});
  }
}

void AppendStepTokens(const engine::StepTokens& counts, const MetricLabels& labels,
                      std::vector<MetricFamily>* families) {
  ClientMetric metric;
  metric.label = labels;
  metric.histogram.sample_sum = static_cast<double>(counts.tokens);
  for (size_t i = 0; i < counts.steps.size(); ++i) {
    metric.histogram.sample_count += static_cast<uint64_t>(counts.steps[i]);
    const bool is_last = i == engine::StepTokens::kUpTo.size();
    metric.histogram.bucket.push_back({.cumulative_count = metric.histogram.sample_count,
                                       .upper_bound = is_last ? std::numeric_limits<double>::infinity()
                                                              : static_cast<double>(engine::StepTokens::kUpTo[i])});
  }
  families->push_back({"ingot_step_tokens", "Tokens that a forward pass computed", MetricType::Histogram, {metric}});
}

void AppendVllmNames(const MetricsOptions& options, const Metrics::Server& server,
                     std::vector<MetricFamily>* families) {
  AppendAliases(kVllm, options, families);
  // What waits here waits for a slot and its blocks.
  MetricLabels labels = LabelsOf(options);
  labels.push_back({"reason", "capacity"});
  Append({"vllm:num_requests_waiting_by_reason", "Requests that wait, by for what", MetricType::Gauge,
          static_cast<double>(server.engine.waiting)},
         labels, families);
}

void AppendLmdeployNames(const MetricsOptions& options, const Metrics::Server& server,
                         std::vector<MetricFamily>* families) {
  AppendAliases(kLmdeploy, options, families);
  const llm::Stats& stats = server.engine;
  const double succeeded =
      SumOfOutcomes(*families, [](std::string_view outcome) { return outcome == "stop" || outcome == "length"; });
  const double failed = SumOfOutcomes(*families, [](std::string_view outcome) { return outcome == "error"; });
  const double hit_rate = stats.prefix_queries == 0
                              ? 0
                              : static_cast<double>(stats.prefix_hits) / static_cast<double>(stats.prefix_queries);
  const Sample samples[] = {
      {"lmdeploy:num_requests_succeeded", "Requests that ended well", MetricType::Gauge, succeeded},
      {"lmdeploy:num_requests_failed", "Requests that ended with an error", MetricType::Gauge, failed},
      {"lmdeploy:num_api_requests_routed", "Requests that the engine has", MetricType::Gauge,
       static_cast<double>(stats.running) + static_cast<double>(stats.waiting)},
      {"lmdeploy:prefix_cache_hit_rate", "Share of the tokens of prompts that were found in the prefix cache",
       MetricType::Gauge, hit_rate}};
  for (const Sample& sample : samples) Append(sample, LabelsOf(options), families);
}

}  // namespace ingot::server
