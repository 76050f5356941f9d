// A loaded model as Python's pipelines use it. Knows nothing of Python.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "answers/api_schemas.h"
#include "answers/served_models.h"
#include "base/mutex.h"
#include "event_queue.h"
#include "llm/llm.h"
#include "llm/sessions.h"

namespace ingot::python {

// What the server takes as the body of a request, checked as the server checks it.
enum class Body : uint8_t {
  kChat,       // of /v1/chat/completions
  kCompletion  // of /v1/completions, with one prompt
};

// A request that may be submitted: its prompt is tokenized and fits.
struct Prompt {
  llm::Request request;
  std::vector<int32_t> token_ids;
};

// Where the events of a request go.
struct Destination {
  std::shared_ptr<EventQueue> queue;
  int64_t tag = 0;
  bool stream = true;  // false: one event a choice, with all of it
};

struct TurnStart {
  std::shared_ptr<llm::Handle> handle;
  int64_t history_tokens = 0, input_tokens = 0;
};

struct Scores {
  int64_t rows = 0, vocab_size = 0, hidden_size = 0;
  std::unique_ptr<float[]> logits;  // [rows, vocab_size]; null unless wanted
  std::unique_ptr<float[]> hidden;  // [rows, hidden_size]: after the last norm; null unless wanted
};
struct ScoreRange {
  int64_t first_position = 0;  // the first row
  bool logits = false, hidden = false;
};

// Requests whose last event has not come.
class RunningRequests {
 public:
  int64_t Begin();
  void SetHandle(int64_t id, const std::shared_ptr<llm::Handle>& handle);
  void End(int64_t id);
  // Also those that get their handle later.
  void CancelAll();
  void WaitUntilNone();

 private:
  Mutex mutex_;
  CondVar ended_;
  bool is_closing_ INGOT_GUARDED_BY(mutex_) = false;
  int64_t next_id_ INGOT_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, std::shared_ptr<llm::Handle>> handles_ INGOT_GUARDED_BY(mutex_);
};

// Thread safety: all methods from any thread at once. After a fork its threads are the parent's alone: every method
// fails in the child, and its memory stays as it is.
class Engine {
 public:
  static Result<std::shared_ptr<Engine>> Load(const llm::LoadOptions& options);
  ~Engine() { Close(); }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Checks a request as the server does, tokenizes it, and checks that it fits.
  Result<Prompt> Prepare(Body body, std::string_view json) const;
  // The fields that such a body may have.
  Result<std::vector<std::string>> FieldsOf(Body body) const;
  Result<std::shared_ptr<llm::Handle>> Submit(const Prompt& prompt, const Destination& destination) const;
  // A turn of a session, which begins with its first one. Its errors are those of llm::Sessions.
  Result<TurnStart> Turn(int64_t session_id, Body body, std::string_view json, const Destination& destination) const;
  // Waits for a running turn, which it cancels. A session that is not there is no error.
  Status EndSession(int64_t session_id) const;
  Result<std::vector<llm::SessionInfo>> ListSessions() const;

  Result<Scores> Score(const std::vector<int32_t>& token_ids, const ScoreRange& range) const;
  // Mean of -log p(token | tokens before it) over all tokens but the first.
  Result<double> MeanCrossEntropy(const std::vector<int32_t>& token_ids) const;

  Result<llm::Stats> stats() const;
  Result<std::string> MemoryLedger() const;
  Result<int64_t> session_len() const;
  Result<bool> can_chat() const;
  // Shared with whatever still uses it when the engine is closed.
  Result<std::shared_ptr<const tokenizer::Tokenizer>> tokenizer() const;

  // Cancels what runs, waits for its end, and frees the model. Idempotent.
  void Close();

 private:
  struct Model {
    std::unique_ptr<llm::Llm> llm;
    std::shared_ptr<llm::Sessions> sessions;  // ends before llm
    answers::ModelLimits limits;
    answers::ApiSchemas schemas;
    answers::ServedModel served;
    std::shared_ptr<RunningRequests> running = std::make_shared<RunningRequests>();
  };
  explicit Engine(std::shared_ptr<Model> model);
  Result<std::shared_ptr<Model>> model() const;
  static Result<llm::Request> Read(const Model& model, Body body, std::string_view json);
  // Passes events on, and notes the last one.
  static llm::EventFn TellTo(const Destination& destination, int64_t choices, std::function<void()> on_end);

  const int pid_;
  mutable Mutex mutex_;
  std::shared_ptr<Model> model_ INGOT_GUARDED_BY(mutex_);
};

}  // namespace ingot::python
