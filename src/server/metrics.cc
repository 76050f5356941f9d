#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "base/mutex.h"
#include "base/topology.h"
#include "kserve/model_info.h"
#include "server/metric_families.h"
#include "server/slot_times.h"

namespace ingot::server {
namespace {

using Clock = std::chrono::steady_clock;
using prometheus::MetricFamily;
using Buckets = prometheus::Histogram::BucketBoundaries;

// The bounds of vLLM's dashboards, with small ones first: a CPU answers a short prompt in milliseconds too.
const Buckets kFirstToken = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                             1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
const Buckets kBetweenTokens = {.001, .005, .01, .025, .05, .075, .1, .15, .2, .3, .4,
                                .5,   .75,  1,   2.5,  5,   7.5,  10, 20,  40, 80};
const Buckets kWhole = {.01, .05, .1, .3, .5, .8, 1,   1.5, 2,   2.5, 5,    10,
                        15,  20,  30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
const Buckets kTokens = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
const Buckets kCached = {0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
const Buckets kRatios = {0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1};

uint64_t Nanoseconds(double seconds) { return static_cast<uint64_t>(std::max(seconds, 0.0) * 1e9); }

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

class MetricsImpl;

class ObservedImpl : public Observed {
 public:
  explicit ObservedImpl(std::shared_ptr<MetricsImpl> metrics) : owner_(std::move(metrics)), metrics_(*owner_) {}
  ~ObservedImpl() override;
  void Tokens(const llm::Event& event) override;
  void ClientLeft() override { left_ = true; }
  void Reject(const WireError& error) override;
  void Fail(const WireError& error) override;
  void End(const llm::Usage& usage) override;

 private:
  const std::shared_ptr<MetricsImpl> owner_;
  MetricsImpl& metrics_;
  const Clock::time_point begin_ = Clock::now();
  std::vector<Clock::time_point> last_;  // token of each choice
  std::atomic<bool> left_ = false;
  bool over_ = false;
};

class MetricsImpl : public Metrics, public std::enable_shared_from_this<MetricsImpl> {
 public:
  explicit MetricsImpl(const MetricsOptions& options)
      : options_(options),
        http(Family("ingot_http_requests_total",
                    "Requests answered, by path and status; those refused before they were read, too")),
        requests(Family("ingot_requests_total", "Requests to the model that ended, by how")),
        rejected(Family("ingot_rejected_total", "Requests refused before they ran, by why")),
        cancelled(Family("ingot_cancelled_total", "Requests cut short, by why")),
        slow(Family("ingot_sse_slow_consumer_total", "Streams ended because their client did not read").Add({})),
        first_token(
            Time("ingot_time_to_first_token_seconds", "From a request's arrival to its first token", kFirstToken)),
        between_tokens(Time("ingot_inter_token_latency_seconds", "Between tokens of an answer", kBetweenTokens)),
        per_token(
            Time("ingot_time_per_output_token_seconds", "Decoding time by tokens, of whole answers", kBetweenTokens)),
        whole(Time("ingot_e2e_request_latency_seconds", "From a request's arrival to its end", kWhole)),
        queued(Time("ingot_request_queue_time_seconds", "Waiting for a slot", kWhole)),
        prefill(Time("ingot_request_prefill_time_seconds", "From a slot to the first token", kWhole)),
        decode(Time("ingot_request_decode_time_seconds", "From the first token to the last", kWhole)),
        inference(Time("ingot_request_inference_time_seconds", "From a slot to the last token", kWhole)),
        prompt_tokens(Time("ingot_request_prompt_tokens", "Tokens of a prompt", kTokens)),
        cached_tokens(Time("ingot_request_cached_tokens", "Tokens of a prompt found in the prefix cache", kCached)),
        cache_hit_ratio(Time("ingot_request_cache_hit_ratio", "The same, as a share of the prompt", kRatios)),
        generation_tokens(Time("ingot_request_generation_tokens", "Tokens of an answer", kTokens)) {}

  std::shared_ptr<Observed> Begin() override { return std::make_shared<ObservedImpl>(shared_from_this()); }
  void Answered(const std::string& path, int status) override {
    http.Add({{"path", path}, {"code", std::to_string(status)}}).Increment();
  }
  void SlowConsumer() override { slow.Increment(); }
  kserve::Statistics statistics() const override {
    const MutexLock lock(statistics_mutex_);
    return statistics_;
  }
  void CountAnswer(const llm::Timings& timings) {
    const MutexLock lock(statistics_mutex_);
    ++statistics_.answers;
    statistics_.queue_ns += Nanoseconds(timings.queue_seconds);
    statistics_.inference_ns += Nanoseconds(timings.prefill_seconds + timings.decode_seconds);
  }
  void CountRequest(double seconds, bool succeeded) {
    const MutexLock lock(statistics_mutex_);
    ++(succeeded ? statistics_.succeeded : statistics_.failed);
    (succeeded ? statistics_.succeeded_ns : statistics_.failed_ns) += Nanoseconds(seconds);
    statistics_.last_ms = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
            .count());
  }
  int RetryAfterSeconds(const llm::Stats& engine) const override {
    return RetrySeconds(slot_times.SecondsUntilServed(engine.waiting, engine.running));
  }
  std::string Scrape(const Server& server) override;

 private:
  prometheus::Family<prometheus::Counter>& Family(const std::string& name, const std::string& help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry_);
  }
  prometheus::Histogram& Time(const std::string& name, const std::string& help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_).Add(
        {{"model_name", options_.model_name}}, buckets);
  }
  void AddEngine(const Server& server, std::vector<MetricFamily>* families) const;
  void AddProcess(const Server& server, std::vector<MetricFamily>* families) const;

  const MetricsOptions options_;
  prometheus::Registry registry_;
  mutable Mutex statistics_mutex_;
  kserve::Statistics statistics_ INGOT_GUARDED_BY(statistics_mutex_);

 public:
  SlotTimes slot_times;
  prometheus::Family<prometheus::Counter>&http, &requests, &rejected, &cancelled;
  prometheus::Counter& slow;
  prometheus::Histogram &first_token, &between_tokens, &per_token, &whole, &queued, &prefill, &decode, &inference,
      &prompt_tokens, &cached_tokens, &cache_hit_ratio, &generation_tokens;
};

ObservedImpl::~ObservedImpl() {
  if (!over_) metrics_.requests.Add({{"outcome", "cancelled"}}).Increment();
  if (!over_ || left_) metrics_.cancelled.Add({{"cause", left_ ? "disconnect" : "other"}}).Increment();
}

void ObservedImpl::Tokens(const llm::Event& event) {
  const auto index = static_cast<size_t>(event.index);
  if (last_.size() <= index) last_.resize(index + 1, Clock::time_point());
  const Clock::time_point now = Clock::now();
  if (!event.token_ids.empty()) {
    if (last_[index] == Clock::time_point()) {
      metrics_.first_token.Observe(std::chrono::duration<double>(now - begin_).count());
    } else {
      // Tokens that came together, half characters held back, share the time.
      const double each =
          std::chrono::duration<double>(now - last_[index]).count() / static_cast<double>(event.token_ids.size());
      for (size_t i = 0; i < event.token_ids.size(); ++i) metrics_.between_tokens.Observe(each);
    }
    last_[index] = now;
  }
  if (!event.finish) return;
  metrics_.CountAnswer(event.timings);
  metrics_.queued.Observe(event.timings.queue_seconds);
  metrics_.prefill.Observe(event.timings.prefill_seconds);
  metrics_.decode.Observe(event.timings.decode_seconds);
  const double in_slot = event.timings.prefill_seconds + event.timings.decode_seconds;
  metrics_.inference.Observe(in_slot);
  metrics_.slot_times.Add(in_slot);
  if (event.usage.completion_tokens > 1) {
    metrics_.per_token.Observe(event.timings.decode_seconds / static_cast<double>(event.usage.completion_tokens - 1));
  }
  metrics_.generation_tokens.Observe(static_cast<double>(event.usage.completion_tokens));
  metrics_.requests.Add({{"outcome", llm::FinishReasonName(*event.finish)}}).Increment();
}

void ObservedImpl::Reject(const WireError& error) {
  if (std::exchange(over_, true)) return;
  metrics_.CountRequest(SecondsSince(begin_), /*succeeded=*/false);
  metrics_.rejected.Add({{"reason", error.code.empty() ? error.type : error.code}}).Increment();
}

void ObservedImpl::Fail(const WireError& error) {
  if (std::exchange(over_, true)) return;
  metrics_.CountRequest(SecondsSince(begin_), /*succeeded=*/false);
  metrics_.requests.Add({{"outcome", "error"}}).Increment();
  if (error.code == "deadline_exceeded") metrics_.cancelled.Add({{"cause", "deadline"}}).Increment();
}

void ObservedImpl::End(const llm::Usage& usage) {
  if (std::exchange(over_, true)) return;
  const auto prompt = static_cast<double>(usage.prompt_tokens), cached = static_cast<double>(usage.cached_tokens);
  metrics_.prompt_tokens.Observe(prompt);
  metrics_.cached_tokens.Observe(cached);
  if (prompt > 0) metrics_.cache_hit_ratio.Observe(cached / prompt);
  const double seconds = SecondsSince(begin_);
  metrics_.whole.Observe(seconds);
  metrics_.CountRequest(seconds, /*succeeded=*/true);
}

void MetricsImpl::AddEngine(const Server& server, std::vector<MetricFamily>* families) const {
  const llm::Stats& stats = server.engine;
  constexpr auto kGauge = prometheus::MetricType::Gauge;
  constexpr auto kCounter = prometheus::MetricType::Counter;
  const auto in_use = static_cast<double>(stats.total_blocks - stats.free_blocks - stats.cached_blocks);
  const MetricLabels model = {{"model_name", options_.model_name}};
  const auto with_state = [&](const char* state) {
    return MetricLabels{{"model_name", options_.model_name}, {"state", state}};
  };
  const char* blocks_help = "Blocks of the KV cache, by what they are: active ones are held by requests";
  Append({"ingot_kv_blocks", blocks_help, kGauge, static_cast<double>(stats.free_blocks)}, with_state("free"),
         families);
  Append({"ingot_kv_blocks", blocks_help, kGauge, static_cast<double>(stats.cached_blocks)}, with_state("cached"),
         families);
  Append({"ingot_kv_blocks", blocks_help, kGauge, in_use}, with_state("active"), families);
  const auto value = [](auto number) { return static_cast<double>(number); };
  const Sample samples[] = {
      {"ingot_num_requests_running", "Requests that have a slot", kGauge, value(stats.running)},
      {"ingot_num_requests_waiting", "Requests that wait for one", kGauge, value(stats.waiting)},
      {"ingot_num_requests_unread", "Requests that wait for a thread that renders and tokenizes", kGauge,
       value(server.unread)},
      {"ingot_max_batch_size", "Slots", kGauge, value(stats.max_batch_size)},
      {"ingot_max_requests_running", "Most requests that had a slot at once", kGauge, value(stats.max_running)},
      {"ingot_kv_cache_usage_ratio", "Share of the KV cache that requests hold", kGauge,
       stats.total_blocks > 0 ? in_use / static_cast<double>(stats.total_blocks) : 0},
      {"ingot_queue_oldest_age_seconds", "How long the oldest waiting request has waited", kGauge,
       stats.oldest_waiting_seconds},
      {"ingot_last_step_age_seconds", "Since the engine's last step while it has work", kGauge, stats.stalled_seconds},
      {"ingot_engine_steps_total", "Forward passes", kCounter, value(stats.steps)},
      {"ingot_preemptions_total", "Preemptions of requests for lack of KV blocks", kCounter, value(stats.preemptions)},
      {"ingot_prompt_tokens_total", "Tokens of prompts", kCounter, value(stats.prompt_tokens)},
      {"ingot_generation_tokens_total", "Tokens of answers", kCounter, value(stats.generated_tokens)},
      {"ingot_prefix_cache_queries_total", "Tokens of prompts looked up in the prefix cache", kCounter,
       value(stats.prefix_queries)},
      {"ingot_prefix_cache_hits_total", "Tokens of prompts found there", kCounter, value(stats.prefix_hits)},
      {"ingot_draft_tokens_total", "Tokens that speculation guessed", kCounter, value(stats.draft_tokens)},
      {"ingot_accepted_draft_tokens_total", "Guesses that came true", kCounter, value(stats.accepted_draft_tokens)}};
  for (const Sample& sample : samples) Append(sample, model, families);
  AppendStepTokens(stats.step_tokens, model, families);
  Append({"ingot_cache_config_info", "Always 1", kGauge, 1},
         {{"model_name", options_.model_name},
          {"block_size", std::to_string(server.block_tokens)},
          {"num_blocks", std::to_string(stats.total_blocks)},
          {"enable_prefix_caching", server.prefix_caching ? "True" : "False"}},
         families);
}

int64_t OpenDescriptors() {
  std::error_code error;
  int64_t count = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end; it.increment(error))
    ++count;
  return std::max<int64_t>(0, count - 1);  // without the one that lists them
}

void MetricsImpl::AddProcess(const Server& server, std::vector<MetricFamily>* families) const {
  constexpr auto kGauge = prometheus::MetricType::Gauge;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const double cpu = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
  const Sample samples[] = {
      {"ingot_http_connections", "Open connections", kGauge, static_cast<double>(server.connections)},
      {"ingot_http_body_bytes", "Bytes held of the bodies of requests", kGauge, static_cast<double>(server.body_bytes)},
      {"ingot_sessions", "Sessions that are kept", kGauge, static_cast<double>(server.sessions)},
      {"ingot_session_write_failures_total", "Changes of sessions that --session-db did not take at first",
       prometheus::MetricType::Counter, static_cast<double>(server.failed_session_writes)},
      {"ingot_device_memory_bytes", "Memory of the device that computes", kGauge,
       static_cast<double>(server.device.total_bytes)},
      {"ingot_device_memory_free_bytes", "Of that, what may still be taken", kGauge,
       static_cast<double>(server.device.free_bytes)},
      {"ingot_startup_seconds", "From the process's start to the first request that it could take", kGauge,
       server.startup_seconds},
      {"process_cpu_seconds_total", "User and system CPU time", prometheus::MetricType::Counter, cpu},
      {"process_resident_memory_bytes", "Resident memory", kGauge, static_cast<double>(ResidentBytes())},
      {"process_open_fds", "Open file descriptors", kGauge, static_cast<double>(OpenDescriptors())}};
  for (const Sample& sample : samples) Append(sample, {}, families);
  Append({"ingot_device_info", "Always 1", kGauge, 1}, {{"device", server.device.name}}, families);
  Append({"ingot_build_info", "Always 1", kGauge, 1}, {{"version", options_.version}}, families);
}

std::string MetricsImpl::Scrape(const Server& server) {
  std::vector<MetricFamily> families = registry_.Collect();
  AddEngine(server, &families);
  AddProcess(server, &families);
  if (options_.vllm_names) AppendVllmNames(options_, server, &families);
  if (options_.lmdeploy_names) AppendLmdeployNames(options_, server, &families);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace

std::shared_ptr<Metrics> Metrics::Make(const MetricsOptions& options) { return std::make_shared<MetricsImpl>(options); }

}  // namespace ingot::server
