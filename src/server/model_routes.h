// The routes that ask a model: what it is called, its answers, its tokens, its sessions.
#pragma once

#include <memory>

#include "base/task_pool.h"
#include "kserve/generation.h"
#include "server/api_server.h"

namespace ingot::server {

// What the handlers of one model need, and the threads they run on. Outlives the routes that it added; borrows model,
// options and metrics.
class ModelRoutes {
 public:
  ModelRoutes(llm::Llm& llm, const ApiServerOptions& options, Metrics& metrics);
  Status OpenSessions();
  // REQUIRES: OpenSessions was ok.
  void AddTo(Router& router);

  const ApiSchemas& schemas() const { return schemas_; }
  llm::Sessions& sessions() { return *sessions_; }
  const ServerContext& context() const { return context_; }
  const kserve::Generator& generator() const { return *generator_; }
  size_t num_unread() const { return text_pool_.num_waiting(); }

 private:
  llm::Llm& llm_;
  const ApiServerOptions& options_;
  ServedModels models_;
  const ApiSchemas schemas_;
  std::shared_ptr<llm::Sessions> sessions_;
  std::optional<kserve::Generator> generator_;  // once there are sessions
  TaskPool text_pool_;                          // after what its tasks use
  const ServerContext context_;
};

// A route that the model answers: how its body is checked and read, and how its answers are encoded.
struct AnswerRoute {
  const Schema& request;
  answers::Reader read;
  const char* stream_type = answers::kEvents;
  const answers::Writers& writers = answers::JsonWriters();
};
// `context`, `llm` and what `route` refers to outlive the handler.
HttpHandler AnswerHandler(const ServerContext& context, const llm::Llm& llm, const AnswerRoute& route);
// The same for turns of sessions and the commands to them: /v1/chat/interactive.
HttpHandler TurnHandler(const ServerContext& context, const Schema& request, llm::Sessions& sessions,
                        const answers::Writers& writers);

// /v1/chat/interactive and /v1/sessions… All of these outlive the router.
void AddSessionRoutes(Router& router, const ApiSchemas& schemas, const ServerContext& context, llm::Sessions& sessions);

// /v2…: KServe's protocol. All but `version` outlive the router.
void AddKserveRoutes(Router& router, const ServerContext& context, const kserve::Generator& generator,
                     const std::string& version);
// llama-server's and ollama's, beside answers.
void AddCompatRoutes(Router& router, const ApiSchemas& schemas, const ServerContext& context,
                     const std::string& version);

}  // namespace ingot::server
