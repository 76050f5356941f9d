#include "load.h"

#include <thread>
#include <utility>

#include "base/json.h"

namespace ingot::python {
namespace {

// Of all loads.
Mutex mutex;
CondVar ended;
int num_running INGOT_GUARDED_BY(mutex) = 0;

Status Set(const JsonView& value, std::string* field) {
  INGOT_ASSIGN_OR_RETURN(*field, value.AsString());
  return {};
}
Status Set(const JsonView& value, bool* field) {
  INGOT_ASSIGN_OR_RETURN(*field, value.AsBool());
  return {};
}
Status Set(const JsonView& value, double* field) {
  INGOT_ASSIGN_OR_RETURN(*field, value.AsDouble());
  return {};
}
Status Set(const JsonView& value, int64_t* field) {
  INGOT_ASSIGN_OR_RETURN(*field, value.AsInt());
  return {};
}
Status Set(const JsonView& value, int* field) {
  INGOT_ASSIGN_OR_RETURN(const int64_t number, value.AsInt());
  if (!std::in_range<int>(number)) return InvalidArgument("{} {} is out of range", value.path(), number);
  *field = static_cast<int>(number);
  return {};
}

}  // namespace

Result<llm::LoadOptions> ReadLoadOptions(std::string_view json) {
  INGOT_ASSIGN_OR_RETURN(const boost::json::value value, ParseJson(json, "options"));
  const JsonView view(value, "");
  llm::LoadOptions options;
  Status status;
  const auto read = [&](const char* name, auto* field) {
    const auto given = view.Find(name);
    if (status.ok() && given && !given->value().is_null()) status = Set(JsonView(given->value(), name), field);
  };
  read("model", &options.model);
  read("tokenizer_pre", &options.tokenizer_pre);
  read("chat_template", &options.chat_template);
  read("meta_instruction", &options.meta_instruction);
  read("backend", &options.backend);
  read("pytorch_dtype", &options.pytorch_dtype);
  read("device", &options.device);
  read("num_threads", &options.num_threads);
  read("exact", &options.exact);
  read("auto_compute", &options.auto_compute);
  read("weights_cache", &options.weights_cache);
  read("session_len", &options.session_len);
  read("max_batch_size", &options.max_batch_size);
  read("cache_max_entry_count", &options.cache_max_entry_count);
  read("kv_cache_bytes", &options.kv_cache_bytes);
  read("cache_block_seq_len", &options.cache_block_seq_len);
  read("max_prefill_token_num", &options.max_prefill_token_num);
  read("quant_policy", &options.quant_policy);
  read("kv_bf16", &options.kv_bf16);
  read("enable_prefix_caching", &options.enable_prefix_caching);
  options.max_queue = 1 << 20;  // a pipeline's requests wait here: there is no client to send away
  if (!status.ok()) return Error(std::move(status));
  return options;
}

Loading::Loading(llm::LoadOptions options) {
  {
    const MutexLock lock(mutex);
    ++num_running;
  }
  std::thread(Run, state_, std::move(options)).detach();
}

void Loading::Run(const std::shared_ptr<State>& state, llm::LoadOptions options) {
  options.progress = [state](int64_t done, int64_t total) {
    state->total = total;
    state->done = done;
  };
  auto engine = Engine::Load(options);
  {
    const MutexLock lock(state->mutex);
    state->engine = std::move(engine);
    state->is_over = true;
    state->ended.NotifyAll();
  }
  const MutexLock lock(mutex);
  --num_running;
  ended.NotifyAll();
}

bool Loading::Wait(std::chrono::milliseconds wait) const {
  const auto end = std::chrono::steady_clock::now() + wait;
  const MutexLock lock(state_->mutex);
  while (!state_->is_over && state_->ended.WaitUntil(state_->mutex, end)) {
  }
  return state_->is_over;
}

Result<std::shared_ptr<Engine>> Loading::Take() {
  const MutexLock lock(state_->mutex);
  return std::exchange(state_->engine, nullptr);
}

void Loading::WaitForAll() {
  const MutexLock lock(mutex);
  while (num_running > 0) ended.Wait(mutex);
}

}  // namespace ingot::python
