#include "plan/measure.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/check.h"
#include "base/mutex.h"
#include "engine/engine.h"
#include "llm/model_memory.h"
#include "models/random_checkpoint.h"

namespace ingot::plan {
namespace {

using Seconds = std::chrono::duration<double>;

double Since(engine::Clock::time_point begin) { return Seconds(engine::Clock::now() - begin).count(); }

// Threads' stacks are data to the kernel, at their full length.
Status LimitData(int64_t cap, int threads) {
  rlimit stack{}, data{};
  if (getrlimit(RLIMIT_STACK, &stack) != 0 || getrlimit(RLIMIT_DATA, &data) != 0) {
    return Io("cannot read this process's limits: {}", std::strerror(errno));
  }
  constexpr rlim_t kDefaultStack = rlim_t{8} << 20;
  constexpr rlim_t kOtherThreads = 4;  // the engine's and its watchdog
  const rlim_t each = stack.rlim_cur == RLIM_INFINITY ? kDefaultStack : stack.rlim_cur;
  data.rlim_cur =
      std::min(data.rlim_max, static_cast<rlim_t>(cap) + (static_cast<rlim_t>(threads) + kOtherThreads) * each);
  if (setrlimit(RLIMIT_DATA, &data) != 0) return Io("cannot cap memory at {}: {}", cap, std::strerror(errno));
  return {};
}

// All requests at once; which have their first token, and which are done.
class Crowd {
 public:
  Crowd(const MeasureParams& params) : params_(params), waiting_(params.options.max_batch_size), running_(waiting_) {}

  Status Run(engine::Engine& engine, Measured* measured) {
    std::vector<engine::Request> requests;
    for (int i = 0; i < params_.options.max_batch_size; ++i) requests.push_back(MakeRequest(i));
    const auto begin = engine::Clock::now();
    INGOT_ASSIGN_OR_RETURN([[maybe_unused]] const auto ids, engine.Submit(std::move(requests)));
    const MutexLock lock(mutex_);
    while (waiting_ > 0 && running_ > 0) changed_.Wait(mutex_);
    const double prefill = Since(begin);
    const int64_t before = generated_;
    const auto middle = engine::Clock::now();
    while (running_ > 0) changed_.Wait(mutex_);
    INGOT_RETURN_IF_ERROR(error_);
    const auto prompts = static_cast<double>(params_.options.max_batch_size * params_.prompt_tokens);
    measured->prefill_tokens_per_second = prompts / prefill;
    if (generated_ > before) {
      measured->decode_tokens_per_second = static_cast<double>(generated_ - before) / Since(middle);
    }
    return {};
  }

 private:
  engine::Request MakeRequest(int number) {
    engine::Request request{.max_tokens = params_.answer_tokens};
    uint64_t state = static_cast<uint64_t>(number) + 1;
    for (int64_t i = 0; i < params_.prompt_tokens; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX
      request.prompt.push_back(static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(params_.spec.vocab_size)));
    }
    request.on_event = [this, has_begun = false](const engine::Event& event) mutable { Hear(event, &has_begun); };
    return request;
  }
  void Hear(const engine::Event& event, bool* has_begun) {
    const MutexLock lock(mutex_);
    if (event.token) {
      ++generated_;
      if (!*has_begun) --waiting_;
      *has_begun = true;
    }
    if (event.finish) --running_;
    if (!event.error.ok()) error_ = event.error;
    changed_.NotifyAll();
  }

  const MeasureParams& params_;
  Mutex mutex_;
  CondVar changed_;
  int waiting_ INGOT_GUARDED_BY(mutex_), running_ INGOT_GUARDED_BY(mutex_);
  int64_t generated_ INGOT_GUARDED_BY(mutex_) = 0;
  Status error_ INGOT_GUARDED_BY(mutex_);
};

// What sequences of so many tokens fill of the cache, at most.
int64_t KvTouched(const llm::MemoryPlan& plan, const MeasureParams& params) {
  int64_t bytes = 0;
  const int64_t tokens = params.prompt_tokens + params.answer_tokens;
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    const int64_t blocks = kv::BlocksFor(tokens, params.options.cache_block_seq_len) * plan.max_batch_size;
    bytes += std::min<int64_t>(blocks, plan.num_blocks[g]) * plan.groups[g].block_bytes;
  }
  return bytes;
}

}  // namespace

Result<Measured> Measure(const MeasureParams& params, ops::Backend& backend) {
  const llm::LoadOptions& options = params.options;
  INGOT_CHECK(params.prompt_tokens >= 1 && params.answer_tokens >= 1);
  INGOT_CHECK(params.prompt_tokens + params.answer_tokens <= options.session_len);
  Measured measured{.program = ResidentBytes()};
  INGOT_RETURN_IF_ERROR(LimitData(params.cap, backend.host().pool->num_threads()));
  const auto begin = engine::Clock::now();
  const auto checkpoint = models::MakeRandomCheckpoint(params.spec, params.weights, params.spec.family);
  INGOT_ASSIGN_OR_RETURN(const auto model,
                         models::Model::Load(checkpoint, params.spec,
                                             {.compute = options.exact ? ops::Compute::kExact : ops::Compute::kFast,
                                              .session_len = options.session_len},
                                             backend));
  measured.load_seconds = Since(begin);
  const int64_t available = std::min(params.cap - ResidentBytes(), GetMemoryAllowance().available_bytes);
  INGOT_ASSIGN_OR_RETURN(
      measured.plan, llm::PlanMemory(options, llm::NeedsOf(*model, options, backend), std::max<int64_t>(available, 0)));
  engine::EngineOptions engine_options{.executor = llm::ExecutorOptionsOf(options)};
  engine_options.executor.max_context = measured.plan.session_len;
  engine_options.executor.num_blocks = measured.plan.num_blocks;
  INGOT_ASSIGN_OR_RETURN(const auto engine, engine::Engine::Create(*model, engine_options, backend));
  INGOT_RETURN_IF_ERROR(Crowd(params).Run(*engine, &measured));

  const llm::MemoryPlan& plan = measured.plan;
  const int64_t fixed = measured.program + plan.weights + plan.workspace + plan.kv_tails;
  measured.kv_touched = KvTouched(plan, params);
  measured.predicted = fixed + measured.kv_touched;
  measured.at_most = fixed + plan.kv;
  measured.peak = PeakResidentBytes();
  return measured;
}

}  // namespace ingot::plan
