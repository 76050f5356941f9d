// The routes that ask a model: what it is called, its answers, its tokens, its sessions.
#pragma once

#include <memory>

#include "base/task_pool.h"
#include "server/api_schemas.h"
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
  size_t num_unread() const { return text_pool_.num_waiting(); }

 private:
  using BodyHandler = void (*)(const ServerContext&, const Schema&, const std::shared_ptr<Exchange>&);
  struct Post {
    const char *path, *summary, *tag;
    const Schema *request, *response;
    const Schema* chunk = nullptr;  // of a stream of server-sent events
    BodyHandler handler;
  };
  void AddModels(Router& router);
  void AddPost(Router& router, const Post& post);
  void AddAnswers(Router& router);
  void AddTokens(Router& router);

  llm::Llm& llm_;
  const ApiServerOptions& options_;
  ServedModels models_;
  const ApiSchemas schemas_;
  std::shared_ptr<llm::Sessions> sessions_;
  TaskPool text_pool_;  // after what its tasks use
  const ServerContext context_;
};

}  // namespace ingot::server
