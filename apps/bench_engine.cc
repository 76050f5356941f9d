// Load on an engine in this process.

#include "base/mutex.h"
#include "bench.h"

namespace ingot::cli {
namespace {

using Clock = std::chrono::steady_clock;

// The main thread submits and waits; events come on threads of the engine's.
class EngineRun {
 public:
  EngineRun(llm::Llm& llm, const std::vector<llm::Request>& requests, const EngineLoad& load)
      : llm_(llm), requests_(requests), load_(load), handles_(requests.size()) {
    result_.records.resize(requests.size());
  }

  bench::LoadResult Run() {
    const auto limit = static_cast<size_t>(load_.max_concurrency > 0 ? load_.max_concurrency : INT64_MAX);
    size_t sent = 0, done = 0;
    bool stopped = false;
    while (done < requests_.size()) {
      for (; sent < requests_.size() && sent - done < limit; ++sent) stopped ? Skip(sent) : Submit(sent);
      done = WaitForMore(done);
      if (load_.on_progress) load_.on_progress(static_cast<int64_t>(done));
      if (load_.interrupted && load_.interrupted() && !std::exchange(stopped, true)) {
        for (const auto& handle : handles_)
          if (handle) handle->Cancel();
      }
    }
    for (const auto& handle : handles_)
      if (handle) handle->Wait();
    return std::move(result_);
  }

 private:
  double Now() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  void Submit(size_t i) {
    bench::RequestRecord& record = result_.records[i];
    record.pieces.reserve(static_cast<size_t>(requests_[i].max_tokens.value_or(0)));
    record.sent = Now();
    auto handle = llm_.Submit(requests_[i], [this, &record](const llm::Event& event) { Take(event, &record); });
    if (handle) {
      handles_[i] = *std::move(handle);
    } else {
      End(&record, CodeName(handle.error().code()), handle.error().message());
    }
  }

  void Skip(size_t i) {
    result_.records[i].sent = Now();
    End(&result_.records[i], "cancelled", "interrupted");
  }

  void Take(const llm::Event& event, bench::RequestRecord* record) {
    if (!event.token_ids.empty()) record->pieces.push_back(Now());
    if (!event.finish) return;
    record->has_usage = true;
    record->prompt_tokens = event.usage.prompt_tokens;
    record->cached_tokens = event.usage.cached_tokens;
    record->output_tokens = event.usage.completion_tokens;
    const bool failed = *event.finish == llm::FinishReason::kCancelled || *event.finish == llm::FinishReason::kError;
    End(record, failed ? FinishReasonName(*event.finish) : "", event.error.message());
  }

  void End(bench::RequestRecord* record, std::string failure, std::string message) {
    record->failure = std::move(failure);
    record->message = std::move(message);
    const MutexLock lock(mutex_);
    record->end = result_.duration = Now();
    ++done_;
    ended_.NotifyOne();
  }

  // Until one more than `done` has ended, or for a moment.
  size_t WaitForMore(size_t done) {
    const MutexLock lock(mutex_);
    if (done_ <= done) ended_.WaitUntil(mutex_, Clock::now() + std::chrono::milliseconds(50));
    return done_;
  }

  llm::Llm& llm_;
  const std::vector<llm::Request>& requests_;
  const EngineLoad& load_;
  const Clock::time_point begin_ = Clock::now();
  std::vector<std::shared_ptr<llm::Handle>> handles_;
  Mutex mutex_;
  CondVar ended_;
  size_t done_ INGOT_GUARDED_BY(mutex_) = 0;
  bench::LoadResult result_;
};

}  // namespace

bench::LoadResult RunEngine(llm::Llm& llm, const std::vector<llm::Request>& requests, const EngineLoad& load) {
  return EngineRun(llm, requests, load).Run();
}

}  // namespace ingot::cli
