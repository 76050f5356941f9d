// For tests of the engine: requests at random and what became of them.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "engine/core.h"
#include "engine/fake_model.h"

namespace ingot::engine {

struct Told {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::optional<FinishReason> finish;
  Status error;
  int finals = 0, after_final = 0;

  bool operator==(const Told& other) const {
    return tokens == other.tokens && logprobs == other.logprobs && finish == other.finish;
  }
};

inline EventFn Record(Told* told) {
  return [told](const Event& event) {
    if (told->finals > 0) ++told->after_final;
    if (event.token) {
      told->tokens.push_back(event.token->id);
      told->logprobs.push_back(event.token->logprob);
      for (int i = 0; i < event.token->num_top; ++i)
        told->logprobs.push_back(event.token->top[static_cast<size_t>(i)].value);
    }
    if (!event.finish) return;
    ++told->finals;
    told->finish = event.finish;
    told->error = event.error;
  };
}

inline Request RandomRequest(std::mt19937_64& random, int64_t vocab_size, int64_t max_prompt = 150) {
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  Request request;
  for (int64_t i = 1 + below(max_prompt); i > 0; --i) {
    const auto id = static_cast<int32_t>(below(vocab_size));
    request.prompt.push_back(id == FakeModel::kNanToken ? 0 : id);
  }
  request.max_tokens = 1 + below(40);
  request.min_tokens = below(3) == 0 ? below(10) : 0;
  request.end_ids = {3, 5};
  sampling::Params& s = request.sampling;
  s.seed = static_cast<int64_t>(random());
  if (below(3) == 0) s.temperature = 0;
  if (below(3) == 0) s.top_k = 1 + below(20);
  if (below(3) == 0) s.top_p = 0.8;
  if (below(4) == 0) s.min_p = 0.05;
  if (below(4) == 0) s.repetition_penalty = 1.3;
  if (below(4) == 0) s.frequency_penalty = 0.5;
  if (below(4) == 0) s.presence_penalty = -0.5;
  if (below(2) == 0) s.num_logprobs = static_cast<int>(below(5));
  return request;
}

// Requests that share beginnings, as conversations and system prompts do.
inline std::vector<Request> RequestsWithCommonBeginnings(std::mt19937_64& random, int64_t vocab_size, int count) {
  std::vector<std::vector<int32_t>> beginnings(3);
  for (auto& beginning : beginnings) beginning = RandomRequest(random, vocab_size, 100).prompt;
  std::vector<Request> requests;
  for (int i = 0; i < count; ++i) {
    Request request = RandomRequest(random, vocab_size, 40);
    request.max_tokens = 1 + static_cast<int64_t>(random() % 110);
    if (random() % 3 > 0) {
      const auto& beginning = beginnings[random() % beginnings.size()];
      const auto length = static_cast<std::ptrdiff_t>(random() % (beginning.size() + 1));
      request.prompt.insert(request.prompt.begin(), beginning.begin(), beginning.begin() + length);
    }
    request.priority = static_cast<int32_t>(random() % 3) - 1;
    request.uses_cached_blocks = random() % 8 != 0;
    request.caches_always = random() % 4 == 0;
    if (random() % 8 == 0) request.cache_salt = "a salt";
    if (random() % 8 == 0) request.adapter = static_cast<int32_t>(random() % 2);
    requests.push_back(std::move(request));
  }
  return requests;
}

// A device as late as can be: nothing runs before it is waited for.
class LazyStream : public Stream {
 public:
  ~LazyStream() override { Wait(posted_); }
  int64_t Post(std::function<void()> work) override {
    queue_.push_back(std::move(work));
    return ++posted_;
  }
  void Wait(int64_t number) override {
    for (; done_ < number; ++done_, queue_.pop_front()) queue_.front()();
  }
  bool runs_behind() const override { return true; }

 private:
  std::deque<std::function<void()>> queue_;
  int64_t posted_ = 0, done_ = 0;
};

// A device that works beside the host, at times late.
class ThreadStream : public Stream {
 public:
  ThreadStream() : thread_([this] { Loop(); }) {}
  ~ThreadStream() override {
    Post(nullptr);
    thread_.join();
  }
  int64_t Post(std::function<void()> work) override {
    const MutexLock lock(mutex_);
    queue_.push_back(std::move(work));
    changed_.NotifyAll();
    return ++posted_;
  }
  void Wait(int64_t number) override {
    const MutexLock lock(mutex_);
    while (done_ < number) changed_.Wait(mutex_);
  }
  bool runs_behind() const override { return true; }

 private:
  void Loop() {
    for (uint64_t n = 0;; ++n) {
      std::function<void()> work;
      {
        const MutexLock lock(mutex_);
        while (queue_.empty()) changed_.Wait(mutex_);
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      if (!work) return;
      if (n % 5 == 0) std::this_thread::sleep_for(std::chrono::microseconds(30));
      work();
      const MutexLock lock(mutex_);
      ++done_;
      changed_.NotifyAll();
    }
  }

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::function<void()>> queue_ INGOT_GUARDED_BY(mutex_);
  int64_t posted_ INGOT_GUARDED_BY(mutex_) = 0, done_ INGOT_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

enum class Device : uint8_t { kInline, kLazy, kThread };
inline constexpr Device kDevices[] = {Device::kInline, Device::kLazy, Device::kThread};

inline std::unique_ptr<Executor> MakeExecutor(const models::Model& model, const ExecutorOptions& options,
                                              ops::Backend& backend, Device device) {
  std::unique_ptr<Stream> stream;
  if (device == Device::kInline) stream = std::make_unique<InlineStream>();
  if (device == Device::kLazy) stream = std::make_unique<LazyStream>();
  if (device == Device::kThread) stream = std::make_unique<ThreadStream>();
  auto executor = Executor::Create(model, options, backend, std::move(stream));
  INGOT_CHECK(executor.has_value());
  return *std::move(executor);
}
inline std::unique_ptr<Core> MakeCore(const models::Model& model, const ExecutorOptions& options, ops::Backend& backend,
                                      Device device = Device::kInline,
                                      std::unique_ptr<Drafter> drafter = std::make_unique<LookupDrafter>()) {
  return std::make_unique<Core>(MakeExecutor(model, options, backend, device), std::move(drafter));
}

// Blocks that sequences hold.
inline int64_t InUse(Core& core) {
  const kv::CacheStats stats = core.cache().stats();
  return stats.total - stats.free - stats.cached;
}

// What a request answers when nobody else is there, in one prefill.
inline Told Alone(const models::Model& model, Request request, ops::Backend& backend,
                  ops::KvFormat format = ops::KvFormat::kF16) {
  const auto length = static_cast<int64_t>(request.prompt.size()) + request.max_tokens;
  auto core =
      MakeCore(model,
               {.max_batch_size = 1,
                .max_prefill_tokens = length,
                .max_context = length,
                .block_len = 64,
                .num_blocks = std::vector<int32_t>(model.kv_groups().size(), static_cast<int32_t>(length / 64 + 1)),
                .kv_format = format},
               backend);
  Told told;
  request.on_event = Record(&told);
  core->Add(1, std::move(request), Clock::now());
  while (core->Step()) {
  }
  return told;
}

// Knows the answers: one in `wrong_of` of its drafts is wrong (1: all are; 0: none).
class OracleDrafter : public Drafter {
 public:
  OracleDrafter(const std::vector<Request>& requests, const std::vector<Told>& answers, uint64_t wrong_of)
      : wrong_of_(wrong_of) {
    for (size_t i = 0; i < requests.size(); ++i) {
      std::vector<int32_t>& text = texts_.emplace_back(requests[i].prompt);
      text.insert(text.end(), answers[i].tokens.begin(), answers[i].tokens.end());
    }
  }
  void Propose(std::span<const int32_t> tokens, int64_t limit, std::vector<int32_t>* drafts) override {
    const auto knows = [&](const std::vector<int32_t>& text) {
      return text.size() > tokens.size() && std::equal(tokens.begin(), tokens.end(), text.begin());
    };
    const auto text = std::ranges::find_if(texts_, knows);
    if (text == texts_.end()) return;
    for (size_t i = tokens.size(); i < text->size() && std::ssize(*drafts) < limit; ++i) {
      const bool wrong = wrong_of_ > 0 && random_() % wrong_of_ == 0;
      drafts->push_back(wrong ? (*text)[i] ^ 1 : (*text)[i]);
    }
  }

 private:
  const uint64_t wrong_of_;
  std::vector<std::vector<int32_t>> texts_;
  std::mt19937_64 random_{5};
};

}  // namespace ingot::engine
