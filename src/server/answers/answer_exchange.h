// A request that answers with choices: sent to the model, and written as its events come, whole or streamed.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "llm/llm.h"
#include "server/errors.h"
#include "server/http.h"
#include "server/metrics.h"

namespace ingot::server {

// What has come of one choice.
struct AnswerChoice {
  int index = 0;  // on the wire: prompt · n + which of n
  llm::Choice choice;
  std::vector<llm::TokenInfo> prompt_logprobs;
  bool is_first = true;  // nothing of it has been streamed
};

// How an API writes answers. One per request; may keep state. Called by one thread at a time.
class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;
  virtual const char* stream_type() const { return "text/event-stream; charset=utf-8"; }
  virtual const char* ping() const { return ": ping\n\n"; }  // "": none
  // What the event adds to a stream; event.index is choice.index. choice.choice is empty but for what earlier events
  // brought.
  virtual std::string Piece(const AnswerChoice& choice, const llm::Event& event) = 0;
  // Ends a stream.
  virtual std::string End(const llm::Usage& usage) = 0;
  // Ends a stream that went wrong.
  virtual std::string Failure(const WireError& error) { return "data: " + ErrorBody(error) + "\n\n"; }
  // The whole answer.
  virtual std::string Whole(const std::vector<AnswerChoice>& choices, const llm::Usage& usage) = 0;
};

struct AnswerRequest {
  std::vector<llm::Request> requests;  // one a prompt
  // How a request is sent; empty: llm.Submit.
  std::function<Result<std::shared_ptr<llm::Handle>>(const llm::Request&, llm::EventFn)> submit;
  std::vector<std::string> params;  // the fields they came from, for errors
  bool stream = false;
  int ping_seconds = 15;
};

// Submits the requests and answers the exchange in the format's words. Renders and tokenizes on the calling thread. A
// client that goes away cancels. `llm` and `metrics` outlive the exchange.
void Answer(llm::Llm& llm, Metrics& metrics, const std::shared_ptr<Exchange>& exchange,
            std::unique_ptr<AnswerFormat> format, AnswerRequest request);

}  // namespace ingot::server
