#include "engine.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <optional>
#include <utility>

#include "answers/routes.h"
#include "formats/alias.h"
#include "llm/checks.h"
#include "models/model.h"
#include "tokenizer/tokenizer.h"

namespace ingot::python {

int64_t RunningRequests::Begin() {
  const MutexLock lock(mutex_);
  handles_.emplace(next_id_, nullptr);
  return next_id_++;
}

void RunningRequests::SetHandle(int64_t id, const std::shared_ptr<llm::Handle>& handle) {
  bool cancel = false;
  {
    const MutexLock lock(mutex_);
    cancel = is_closing_;
    const auto found = handles_.find(id);
    if (found != handles_.end()) found->second = handle;  // else its last event was faster
  }
  if (cancel) handle->Cancel();
}

void RunningRequests::End(int64_t id) {
  const MutexLock lock(mutex_);
  handles_.erase(id);
  ended_.NotifyAll();
}

void RunningRequests::CancelAll() {
  std::vector<std::shared_ptr<llm::Handle>> handles;  // cancelled without the lock, which an event may need
  {
    const MutexLock lock(mutex_);
    is_closing_ = true;
    for (const auto& [id, handle] : handles_) handles.push_back(handle);
  }
  for (const auto& handle : handles) {
    if (handle) handle->Cancel();
  }
}

void RunningRequests::WaitUntilNone() {
  const MutexLock lock(mutex_);
  while (!handles_.empty()) ended_.Wait(mutex_);
}

Engine::Engine(std::shared_ptr<Model> model) : pid_(getpid()), model_(std::move(model)) {}

Result<std::shared_ptr<Engine>> Engine::Load(const llm::LoadOptions& options) {
  llm::LoadOptions resolved = options;
  resolved.model = formats::ResolveAlias(options.model);
  INGOT_ASSIGN_OR_RETURN(std::unique_ptr<llm::Llm> llm, llm::Llm::Load(resolved));
  INGOT_ASSIGN_OR_RETURN(std::shared_ptr<llm::Sessions> sessions, llm::Sessions::Open(*llm, {}));
  const answers::ModelLimits limits{
      .model_name = options.model, .session_len = llm->session_len(), .vocab_size = llm->model().spec().vocab_size};
  answers::ServedModel served{.llm = *llm, .name = options.model, .created = std::time(nullptr), .limits = limits};
  return std::shared_ptr<Engine>(new Engine(std::make_shared<Model>(
      Model{std::move(llm), std::move(sessions), limits, answers::ApiSchemas(limits), std::move(served)})));
}

Result<std::shared_ptr<Engine::Model>> Engine::model() const {
  if (getpid() != pid_) {
    return Unavailable(
        "this process was forked from the one that loaded the model, whose threads it does not have; load the model in "
        "this process, or start processes with multiprocessing's \"spawn\"");
  }
  const MutexLock lock(mutex_);
  if (model_ == nullptr) return Unavailable("the pipeline is closed");
  return model_;
}

Result<llm::Request> Engine::Read(const Model& model, Body body, std::string_view json) {
  const bool is_chat = body == Body::kChat;
  const auto checked =
      answers::ParseBody(json, is_chat ? model.schemas.chat_request : model.schemas.completion_request);
  if (!checked) return Error(checked.error().status.Of(checked.error().param));
  const answers::Fields fields(*checked);
  INGOT_ASSIGN_OR_RETURN(answers::Prepared prepared, (is_chat ? answers::ReadChat : answers::ReadCompletion)(
                                                         fields, model.served, answers::Caller{}));
  std::vector<llm::Request>& requests = prepared.question.requests;
  if (requests.size() != 1) return InvalidArgument("a request has one prompt, not {}", requests.size());
  requests.front().default_max_tokens = 0;  // a completion without max_tokens may be as long as the context allows
  return std::move(requests.front());
}

Result<std::vector<std::string>> Engine::FieldsOf(Body body) const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  const answers::ApiSchemas& schemas = model->schemas;
  std::vector<std::string> names;
  for (const auto& field : (body == Body::kChat ? schemas.chat_request : schemas.completion_request).properties) {
    names.push_back(field.name);
  }
  return names;
}

Result<Prompt> Engine::Prepare(Body body, std::string_view json) const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  INGOT_ASSIGN_OR_RETURN(llm::Request request, Read(*model, body, json));
  INGOT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, model->llm->Tokenize(request));
  if (ids.empty()) return InvalidArgument("the prompt is empty");
  const Result<int64_t> length = llm::AnswerLength(request, std::ssize(ids), model->llm->session_len());
  if (!length) return Error(length.error());
  request.messages.clear();
  request.prompt.reset();
  request.token_ids = ids;
  return Prompt{std::move(request), std::move(ids)};
}

namespace {

void Append(const llm::Event& event, llm::Event* whole) {
  std::string text = std::move(whole->text) + event.text;
  std::vector<int32_t> token_ids = std::move(whole->token_ids);
  token_ids.insert(token_ids.end(), event.token_ids.begin(), event.token_ids.end());
  std::vector<llm::TokenInfo> logprobs = std::move(whole->logprobs);
  logprobs.insert(logprobs.end(), event.logprobs.begin(), event.logprobs.end());
  *whole = event;
  whole->text = std::move(text);
  whole->token_ids = std::move(token_ids);
  whole->logprobs = std::move(logprobs);
}

}  // namespace

llm::EventFn Engine::TellTo(const Destination& destination, int64_t choices, std::function<void()> on_end) {
  // One event of a request is reported at a time.
  std::vector<llm::Event> whole(destination.stream ? 0 : static_cast<size_t>(choices));
  return [destination, whole = std::move(whole), left = choices,
          on_end = std::move(on_end)](const llm::Event& event) mutable {
    const bool is_last = event.finish && --left == 0;
    if (destination.stream) {
      destination.queue->Put({destination.tag, event});
    } else {
      llm::Event& choice = whole[static_cast<size_t>(event.index)];
      Append(event, &choice);
      if (event.finish) destination.queue->Put({destination.tag, std::move(choice)});
    }
    if (is_last) on_end();
  };
}

Result<std::shared_ptr<llm::Handle>> Engine::Submit(const Prompt& prompt, const Destination& destination) const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  const std::shared_ptr<RunningRequests> running = model->running;
  const int64_t id = running->Begin();
  auto handle =
      model->llm->Submit(prompt.request, TellTo(destination, prompt.request.n, [running, id] { running->End(id); }));
  if (handle) {
    running->SetHandle(id, *handle);
  } else {
    running->End(id);
  }
  return handle;
}

Result<TurnStart> Engine::Turn(int64_t session_id, Body body, std::string_view json,
                               const Destination& destination) const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  llm::TurnRequest turn;
  INGOT_ASSIGN_OR_RETURN(turn.request, Read(*model, body, json));
  const std::shared_ptr<RunningRequests> running = model->running;
  const int64_t id = running->Begin();
  auto started = model->sessions->Turn({.owner = "", .id = session_id}, turn,
                                       TellTo(destination, 1, [running, id] { running->End(id); }));
  if (!started) {
    running->End(id);
    return Error(started.error());
  }
  running->SetHandle(id, started->handle);
  return TurnStart{started->handle, started->history_tokens, started->input_tokens};
}

Status Engine::EndSession(int64_t session_id) const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  const llm::SessionKey key{.owner = "", .id = session_id};
  Mutex mutex;
  CondVar idle;
  bool is_idle = false;
  model->sessions->Cancel(key, [&] {
    const MutexLock lock(mutex);
    is_idle = true;
    idle.NotifyAll();
  });
  {
    const MutexLock lock(mutex);
    while (!is_idle) idle.Wait(mutex);
  }
  const Status removed = model->sessions->Remove(key, [](const llm::SessionInfo&) {});
  return removed.code() == Code::kNotFound ? Status() : removed;
}

Result<std::vector<llm::SessionInfo>> Engine::ListSessions() const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  return model->sessions->List(std::nullopt, std::nullopt, static_cast<size_t>(model->sessions->count()));
}

Result<Scores> Engine::Score(const std::vector<int32_t>& token_ids, const ScoreRange& range) const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  const models::ModelSpec& spec = model->llm->model().spec();
  const int64_t num_tokens = std::ssize(token_ids), first = range.first_position;
  if (first < 0 || first >= num_tokens) {
    return InvalidArgument("first_position {} is outside 0…{}, the positions of the tokens", first, num_tokens - 1);
  }
  Scores scores{.rows = num_tokens - first, .vocab_size = spec.vocab_size, .hidden_size = spec.hidden_size};
  const auto allocate = [&](int64_t columns) {
    return std::make_unique_for_overwrite<float[]>(static_cast<size_t>(scores.rows * columns));
  };
  if (range.logits) scores.logits = allocate(scores.vocab_size);
  if (range.hidden) scores.hidden = allocate(scores.hidden_size);
  int64_t position = 0;  // of the chunk's first token
  const auto tap = [&](int layer, const float* hidden, int64_t chunk) {
    if (layer != spec.num_layers) return;
    const int64_t skip = std::clamp(first - position, int64_t{0}, chunk);
    std::copy_n(hidden + skip * scores.hidden_size, (chunk - skip) * scores.hidden_size,
                scores.hidden.get() + (position + skip - first) * scores.hidden_size);
    position += chunk;
  };
  const auto on_logits = [&](int64_t at, const float* logits) {
    if (range.logits && at >= first) {
      std::copy_n(logits, scores.vocab_size, scores.logits.get() + (at - first) * scores.vocab_size);
    }
  };
  INGOT_RETURN_IF_ERROR(model->llm->ScoreTapped(token_ids, range.logits ? first : num_tokens - 1,
                                                range.hidden ? llm::Llm::HiddenFn(tap) : nullptr, on_logits));
  return scores;
}

Result<double> Engine::MeanCrossEntropy(const std::vector<int32_t>& token_ids) const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  const int64_t num_tokens = std::ssize(token_ids), vocab_size = model->llm->model().spec().vocab_size;
  if (num_tokens < 2)
    return InvalidArgument("input_ids has {} tokens; the second is the first to be scored", num_tokens);
  double sum = 0.0;
  const auto on_logits = [&](int64_t position, const float* logits) {
    if (position + 1 >= num_tokens) return;
    const float max = *std::max_element(logits, logits + vocab_size);
    double total = 0.0;
    for (int64_t i = 0; i < vocab_size; ++i) total += std::exp(static_cast<double>(logits[i]) - max);
    sum += std::log(total) + max - logits[token_ids[static_cast<size_t>(position) + 1]];
  };
  INGOT_RETURN_IF_ERROR(model->llm->Score(token_ids, 0, on_logits));
  return sum / static_cast<double>(num_tokens - 1);
}

Result<llm::Stats> Engine::stats() const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  return model->llm->stats();
}

Result<std::string> Engine::MemoryLedger() const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  return model->llm->MemoryLedger();
}

Result<int64_t> Engine::session_len() const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  return model->llm->session_len();
}

Result<bool> Engine::can_chat() const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  return model->llm->chat_template() != nullptr;
}

Result<std::shared_ptr<const tokenizer::Tokenizer>> Engine::tokenizer() const {
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Model> model, this->model());
  return std::shared_ptr<const tokenizer::Tokenizer>(model, &model->llm->tokenizer());
}

void Engine::Close() {
  std::shared_ptr<Model> model;
  {
    const MutexLock lock(mutex_);
    model = std::exchange(model_, nullptr);
  }
  if (model == nullptr) return;
  if (getpid() != pid_) {
    new std::shared_ptr<Model>(std::move(model));  // its destructors would wait for threads that are not here
    return;
  }
  model->running->CancelAll();
  model->running->WaitUntilNone();
}

}  // namespace ingot::python
