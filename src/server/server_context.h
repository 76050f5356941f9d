// What the handlers share.
#pragma once

#include <functional>
#include <memory>

#include "base/task_pool.h"
#include "server/metrics.h"
#include "server/served_models.h"

namespace ingot::server {

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

// Runs `handle` on a text thread; 429 where too many requests, or too many bytes of them, wait for one.
void OnTextThread(const ServerContext& context, const std::shared_ptr<Exchange>& exchange,
                  std::function<void()> handle);
// Refuses bodies that are not plain JSON: 415. True: go on.
bool AcceptsBody(Exchange& exchange);
// Parses and checks the body; answers the exchange where it does not fit.
std::optional<boost::json::value> ReadBody(Exchange& exchange, const Schema& schema);
// The model that the body names; answers the exchange where there is none.
const ServedModel* ModelOf(const ServerContext& context, Exchange& exchange, const boost::json::value& body);
void Refuse(Exchange& exchange, const FieldError& error);

}  // namespace ingot::server
