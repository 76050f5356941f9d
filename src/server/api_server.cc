#include "server/api_server.h"

#include <chrono>

#include "base/json.h"
#include "base/task_pool.h"
#include "server/errors.h"
#include "server/openai/chat_completions.h"

namespace ingot::server {
namespace {

// An engine that has work and makes no progress for so long counts as hung.
constexpr double kStalledSeconds = 90;

class ApiServerImpl : public ApiServer {
 public:
  ApiServerImpl(llm::Llm& llm, ApiServerOptions options)
      : options_(std::move(options)), served_{llm, options_.model_name, std::time(nullptr)} {}

  Status Start() {
    INGOT_ASSIGN_OR_RETURN(http_, HttpServer::Start(options_.http, MakeRouter()));
    return {};
  }
  uint16_t port() const override { return http_->port(); }
  void Stop(double drain_seconds) override { http_->Stop(drain_seconds); }

 private:
  Router MakeRouter() {
    Router router;
    router.Add("GET", "/health", [this](std::shared_ptr<Exchange> exchange) { Health(*exchange); });
    router.Add("GET", "/v1/models", [this](std::shared_ptr<Exchange> exchange) { ListModels(*exchange); });
    router.Add("GET", "/v1/models/*", [this](std::shared_ptr<Exchange> exchange) { GetModel(*exchange); });
    router.Add("POST", "/v1/chat/completions", [this](std::shared_ptr<Exchange> exchange) {
      text_pool_.Post([this, exchange = std::move(exchange)] { ChatCompletions(served_, exchange); });
    });
    return router;
  }

  void Health(Exchange& exchange) const {
    const double stalled = served_.llm.StalledSeconds();
    if (stalled < kStalledSeconds) return exchange.Respond({.body = R"({"status":"healthy"})"});
    exchange.Respond(
        {.status = 503,
         .body = fmt::format(R"({{"status":"unhealthy","message":"no progress for {:.0f} s"}})", stalled)});
  }

  std::string ModelJson() const {
    std::string body = R"({"id":)";
    AppendJsonString(body, served_.model_name);
    body += fmt::format(R"(,"object":"model","created":{},"owned_by":"ingot","root":)", served_.created);
    AppendJsonString(body, served_.llm.options().model);
    body += fmt::format(R"(,"max_model_len":{}}})", served_.llm.session_len());
    return body;
  }
  void ListModels(Exchange& exchange) const {
    exchange.Respond({.body = fmt::format(R"({{"object":"list","data":[{}]}})", ModelJson())});
  }
  void GetModel(Exchange& exchange) const {
    const std::string id = exchange.request().path.substr(std::string_view("/v1/models/").size());
    if (id == served_.model_name) return exchange.Respond({.body = ModelJson()});
    exchange.Respond(ErrorResponse(UnknownModel(served_, id)));
  }

  const ApiServerOptions options_;
  const ServedModel served_;
  TaskPool text_pool_{2};
  std::unique_ptr<HttpServer> http_;  // last: stops before what its handlers use is gone
};

}  // namespace

Result<std::unique_ptr<ApiServer>> ApiServer::Start(llm::Llm& llm, const ApiServerOptions& options) {
  auto server = std::make_unique<ApiServerImpl>(llm, options);
  INGOT_RETURN_IF_ERROR(server->Start());
  return server;
}

}  // namespace ingot::server
