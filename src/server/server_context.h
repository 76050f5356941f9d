// What the handlers share.
#pragma once

#include <functional>
#include <memory>

#include "answers/routes.h"
#include "base/task_pool.h"
#include "server/http.h"
#include "server/metrics.h"

namespace ingot::server {

using answers::ApiSchemas;
using answers::Fields;
using answers::ServedModel;
using answers::ServedModels;

struct AnswerOptions {
  bool always_include_usage = false;  // --always-include-usage
  int ping_seconds = 15;              // --sse-keep-alive: between pings of a silent stream; 0: none
};

// Outlives every exchange.
struct ServerContext {
  const ServedModels& models;
  Metrics& metrics;
  TaskPool& text_pool;  // templates and tokenizing
  AnswerOptions answers;
};

// In the words of the exchange's route.
void Refuse(Exchange& exchange, const WireError& error);
void Refuse(Exchange& exchange, const FieldError& error);
void Refuse(Exchange& exchange, const Status& error);

// Runs `task` on a text thread, unless the client has gone by then. Answers in its place where too many requests, or
// too many bytes of them, wait for such a thread (429).
void OnTextThread(const ServerContext& context, const std::shared_ptr<Exchange>& exchange, std::function<void()> task);

using BodyHandler =
    std::function<void(const ServedModel& model, const Fields& fields, const std::shared_ptr<Exchange>& exchange)>;
// Calls the handler on a text thread, with the body parsed and checked, and the model that it names. Answers in its
// place, too, where the body is no JSON (415) or does not fit (400).
HttpHandler OnBody(const ServerContext& context, const Schema& schema, BodyHandler handler);

// A client may rank its requests below those of others; ranking them first is for administrators.
Status CheckPriority(const HttpRequest& http, int64_t priority);

// Answers 429 where the engine's queue is full. Before a body is read: to parse, render and tokenize what is then
// refused would take time from those who are served.
bool RefuseWhenFull(const ServerContext& context, const llm::Llm& llm, Exchange& exchange);

// Asks the model and answers the exchange in the format's words, whole or streamed. Renders and tokenizes on the
// calling thread. A client that goes away cancels.
void Answer(const ServerContext& context, const ServedModel& model, const std::shared_ptr<Exchange>& exchange,
            answers::Prepared prepared);

}  // namespace ingot::server
