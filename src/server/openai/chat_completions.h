// POST /v1/chat/completions, whole and streamed.
#pragma once

#include <ctime>
#include <memory>
#include <string>

#include "llm/llm.h"
#include "server/errors.h"
#include "server/http.h"

namespace ingot::server {

struct ServedModel {
  llm::Llm& llm;
  std::string model_name;
  std::time_t created;  // when it began to be served
};

WireError UnknownModel(const ServedModel& served, const std::string& asked);

// Answers the exchange; renders and tokenizes on the calling thread. `served` outlives the exchange.
void ChatCompletions(const ServedModel& served, const std::shared_ptr<Exchange>& exchange);

}  // namespace ingot::server
