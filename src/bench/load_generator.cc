#include "bench/load_generator.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "base/check.h"

namespace ingot::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kLookSeconds = 0.05;  // how often `interrupted` is asked: a signal's handler can only set a flag

std::string KindOf(const client::AnswerEnd& end) {
  if (end.status.ok()) return "";
  if (end.status.code() == Code::kCancelled) return "cancelled";
  if (end.http_status != 0 && end.http_status != 200) return std::to_string(end.http_status);
  if (end.status.code() == Code::kDeadlineExceeded) return "timeout";
  return end.status.code() == Code::kIo ? "connection" : "error";
}

// All on the thread of Run.
class LoadGenerator {
 public:
  LoadGenerator(client::HttpClient& http, std::vector<LoadRequest> requests, const LoadOptions& options)
      : http_(http), requests_(std::move(requests)), options_(options), calls_(requests_.size()) {
    result_.records.resize(requests_.size());
  }

  LoadResult Run() {
    arrivals_ = PoissonArrivals(requests_.size(), options_.request_rate, options_.seed);
    Arrive();
    Watch();
    http_.Run();
    return std::move(result_);
  }

 private:
  double Now() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  // Lets in those whose time has come, and comes back for the next.
  void Arrive() {
    while (arrived_ < requests_.size() && arrivals_[arrived_] <= Now()) ++arrived_;
    SendWaiting();
    if (arrived_ == requests_.size()) return;
    const double wait = arrivals_[arrived_] - Now();
    http_.After(std::clamp(wait, 0.0, kLookSeconds), [this] { Arrive(); });  // an interrupt does not wait for it
  }

  void SendWaiting() {
    while (sent_ < arrived_ && (options_.max_concurrency == 0 || in_flight_ < options_.max_concurrency)) Send(sent_++);
  }

  void Send(size_t i) {
    RequestRecord& record = result_.records[i];
    record.sent = Now();
    if (stopped_) return Finish(record, {.status = Status(Code::kCancelled, "interrupted")});
    ++in_flight_;
    LoadRequest& request = requests_[i];
    calls_[i] = client::StartAnswer(http_, std::move(request.path), std::move(request.body),
                                    {.on_piece =
                                         [this, &record](const client::AnswerPiece& piece) {
                                           if (!piece.text.empty() || !piece.reasoning.empty())
                                             record.pieces.push_back(Now());
                                         },
                                     .on_end =
                                         [this, &record, i](const client::AnswerEnd& end) {
                                           calls_[i].reset();
                                           --in_flight_;
                                           Finish(record, end);
                                           SendWaiting();
                                         }});
  }

  void Finish(RequestRecord& record, const client::AnswerEnd& end) {
    record.end = result_.duration = Now();
    record.failure = KindOf(end);
    record.message = end.status.message();
    record.output_tokens = static_cast<int64_t>(record.pieces.size());
    if (end.usage) {
      record.has_usage = true;
      record.prompt_tokens = end.usage->prompt_tokens;
      record.cached_tokens = end.usage->cached_tokens;
      record.output_tokens = end.usage->completion_tokens;
    }
    ++done_;
    if (options_.on_progress) options_.on_progress(done_);
  }

  void Watch() {
    if (!options_.interrupted || done_ == static_cast<int64_t>(requests_.size())) return;
    if (options_.interrupted() && !std::exchange(stopped_, true)) {
      std::ranges::fill(arrivals_, 0.0);
      for (const auto& call : calls_)
        if (call) call->Cancel();
    }
    http_.After(kLookSeconds, [this] { Watch(); });
  }

  client::HttpClient& http_;
  std::vector<LoadRequest> requests_;
  const LoadOptions& options_;
  const Clock::time_point begin_ = Clock::now();
  std::vector<double> arrivals_;
  std::vector<std::shared_ptr<client::HttpCall>> calls_;  // those under way
  LoadResult result_;
  size_t arrived_ = 0, sent_ = 0;
  int in_flight_ = 0;
  int64_t done_ = 0;
  bool stopped_ = false;
};

}  // namespace

std::vector<double> PoissonArrivals(size_t count, double rate, uint64_t seed) {
  INGOT_CHECK(rate > 0);
  std::mt19937_64 random(seed);
  std::vector<double> times(count);
  for (size_t i = 1; i < count; ++i) {
    const double uniform = (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;  // in (0, 1)
    times[i] = times[i - 1] - std::log(uniform) / rate;
  }
  return times;
}

LoadResult GenerateLoad(client::HttpClient& http, std::vector<LoadRequest> requests, const LoadOptions& options) {
  return LoadGenerator(http, std::move(requests), options).Run();
}

}  // namespace ingot::bench
