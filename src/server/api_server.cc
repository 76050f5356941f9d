#include "server/api_server.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/json.h"
#include "base/log.h"
#include "base/task_pool.h"
#include "models/model.h"
#include "server/errors.h"
#include "server/interactive/session_routes.h"
#include "server/native/generate.h"
#include "server/native/tokens.h"
#include "server/openai/chat.h"
#include "server/openai/completions.h"
#include "server/schema/openapi.h"
#include "server/ui/pages.h"

namespace ingot::server {
namespace {

// An engine that has work and makes no progress for so long counts as hung.
constexpr double kStalledSeconds = 90;
// Bodies of the largest size that wait for a text thread at most.
constexpr size_t kTextQueueBodies = 8;

std::string Joined(const std::vector<std::string>& list) { return fmt::format("{}", fmt::join(list, ", ")); }

class ApiServerImpl : public ApiServer {
 public:
  ApiServerImpl(llm::Llm& llm, ApiServerOptions options)
      : options_(std::move(options)),
        metrics_(Metrics::Make({.model_name = options_.model_name,
                                .version = options_.version,
                                .vllm_names = options_.vllm_metrics,
                                .lmdeploy_names = options_.lmdeploy_metrics})),
        llm_(llm),
        schemas_(LimitsOf(llm, options_)),
        text_pool_(options_.text_threads, TextLimits(options_)) {
    models_.Add({llm, options_.model_name, std::time(nullptr), LimitsOf(llm, options_)});
  }

  Status Start() {
    INGOT_ASSIGN_OR_RETURN(keys_, ApiKeys::Load(options_.keys));
    INGOT_ASSIGN_OR_RETURN(sessions_, llm::Sessions::Open(llm_, options_.sessions));
    AddStatusRoutes();
    AddModelRoutes();
    AddAnswerRoutes();
    AddTokenRoutes();
    AddSessionRoutes(router_, schemas_, context_, *sessions_);
    if (options_.allow_terminate) AddTerminate();
    if (options_.docs) {
      AddDocument();
      AddPages(router_);
    }
    router_.set_guards({.admit = [this](const RouteInfo& route, HttpRequest& request) { return Admit(route, request); },
                        .headers = [this](const HttpRequest& request) { return CorsHeaders(request); }});
    HttpOptions http = options_.http;
    http.on_answered = [this](const AnsweredRequest& answered) { Log(answered); };
    INGOT_ASSIGN_OR_RETURN(http_, HttpServer::Listen(http, router_));
    http_->Run();  // handlers ask http_
    return {};
  }
  uint16_t port() const override { return http_->port(); }
  const Router& router() const override { return router_; }
  Status Reload() override {
    INGOT_RETURN_IF_ERROR(keys_->Reload());
    return http_->ReloadTls();
  }
  void Stop(double drain_seconds) override {
    draining_ = true;
    http_->Stop(drain_seconds);
  }

 private:
  // As many requests may wait for a text thread as for the engine, but not all of them with the largest body.
  static TaskPool::Limits TextLimits(const ApiServerOptions& options) {
    return {static_cast<size_t>(options.max_queue), kTextQueueBodies * options.http.max_body_bytes};
  }
  static ModelLimits LimitsOf(const llm::Llm& llm, const ApiServerOptions& options) {
    return {.model_name = options.model_name,
            .session_len = llm.session_len(),
            .vocab_size = llm.model().spec().vocab_size,
            .max_output_len = options.max_output_len};
  }

  std::optional<HttpResponse> Admit(const RouteInfo& route, HttpRequest& request) const {
    if (auto refusal = keys_->Admit(route, request)) return refusal;
    if (!draining_ || route.access == Access::kOpen) return std::nullopt;
    return ErrorResponse({503, "unavailable_error", "draining", "", "the server is about to stop"});
  }

  Headers CorsHeaders(const HttpRequest& request) const {
    const std::string_view origin = request.Header("Origin");
    const auto& allowed = options_.allow_origins;
    const bool any = std::ranges::find(allowed, "*") != allowed.end();
    if (origin.empty() || (!any && std::ranges::find(allowed, origin) == allowed.end())) return {};
    Headers headers = {{"Access-Control-Allow-Origin", any && !options_.allow_credentials ? "*" : std::string(origin)},
                       {"Vary", "Origin"},
                       {"Access-Control-Expose-Headers", "X-Request-Id, Retry-After"}};
    if (options_.allow_credentials) headers.emplace_back("Access-Control-Allow-Credentials", "true");
    if (request.method != "OPTIONS") return headers;
    const std::string_view asked = request.Header("Access-Control-Request-Headers");
    const bool any_header = std::ranges::find(options_.allow_headers, "*") != options_.allow_headers.end();
    headers.emplace_back("Access-Control-Allow-Methods", Joined(options_.allow_methods));
    headers.emplace_back("Access-Control-Allow-Headers",
                         any_header && !asked.empty() ? std::string(asked) : Joined(options_.allow_headers));
    headers.emplace_back("Access-Control-Max-Age", "600");
    return headers;
  }

  void Log(const AnsweredRequest& answered) {
    metrics_->Answered(PatternOf(answered.request.path), answered.status);
    if (GetLogLevel() > LogLevel::kInfo) return;
    ingot::Log(LogLevel::kInfo, "{} {} {} {} {:.1f} ms{} client={} id={}", answered.request.method,
               answered.request.path, answered.status, answered.note, answered.seconds * 1e3,
               answered.complete ? "" : " client left", answered.request.client, answered.request.request_id);
  }
  // The route's path, so that metrics have as many labels as there are routes.
  std::string PatternOf(const std::string& path) const {
    for (const Router::Route& route : router_.routes()) {
      const size_t open = route.path.find('{');
      if (route.path == path || (open != std::string::npos && path.starts_with(route.path.substr(0, open))))
        return route.path;
    }
    return "other";
  }

  void AddStatusRoutes() {
    const auto health = [this](const char* summary) {
      return RouteInfo{.summary = summary,
                       .tag = "Status",
                       .access = Access::kOpen,
                       .responses = {{200, "healthy", "application/json", &schemas_.health},
                                     {503, "not healthy", "application/json", &schemas_.health}}};
    };
    router_.Add({"GET", "/health", health("Whether the engine makes progress"),
                 [this](auto exchange) { Health(*exchange, true); }});
    router_.Add({"GET", "/health/live", health("Whether the process answers"),
                 [this](auto exchange) { Health(*exchange, false); }});
    router_.Add({"GET", "/health/ready", health("Whether it takes requests"),
                 [this](auto exchange) { Health(*exchange, true); }});
    router_.Add({"GET",
                 "/version",
                 {.summary = "Ingot's version",
                  .tag = "Status",
                  .responses = {{200, "the version", "application/json", &schemas_.version}}},
                 [this](auto exchange) {
                   exchange->Respond({.body = fmt::format(R"({{"version":"{}"}})", options_.version)});
                 }});
    router_.Add({"GET",
                 "/metrics",
                 {.summary = "Counters and gauges for Prometheus",
                  .tag = "Status",
                  .responses = {{200, "Prometheus' text format", "text/plain; version=0.0.4; charset=utf-8"}}},
                 [this](auto exchange) { ScrapeMetrics(*exchange); }});
  }

  void Health(Exchange& exchange, bool looks_at_engine) const {
    if (looks_at_engine && draining_) {
      return exchange.Respond(
          {.status = 503, .body = R"({"status":"draining","message":"the server is about to stop"})"});
    }
    const double stalled = looks_at_engine ? llm_.StalledSeconds() : 0;
    if (stalled < kStalledSeconds) return exchange.Respond({.body = R"({"status":"healthy"})"});
    exchange.Respond(
        {.status = 503,
         .body = fmt::format(R"({{"status":"unhealthy","message":"no progress for {:.0f} s"}})", stalled)});
  }

  void ScrapeMetrics(Exchange& exchange) {
    exchange.Respond({.content_type = "text/plain; version=0.0.4; charset=utf-8",
                      .body = metrics_->Scrape({.engine = llm_.stats(),
                                                .connections = http_->open_connections(),
                                                .sessions = sessions_->count(),
                                                .lost_session_writes = sessions_->lost_writes(),
                                                .startup_seconds = options_.startup_seconds})});
  }

  void AddModelRoutes() {
    router_.Add({"GET",
                 "/v1/models",
                 {.summary = "The served models",
                  .tag = "Models",
                  .responses = {{200, "the models", "application/json", &schemas_.model_list}}},
                 [this](auto exchange) { ListModels(*exchange); }});
    router_.Add({"GET",
                 "/v1/models/{model}",
                 {.summary = "A served model",
                  .tag = "Models",
                  .parameters = {{"model", true, String(1, 4096).Example(boost::json::string(options_.model_name))}},
                  .responses = {{200, "the model", "application/json", &schemas_.model}}},
                 [this](auto exchange) { GetModel(*exchange); }});
  }
  static std::string ModelJson(const ServedModel& model) {
    std::string body = R"({"id":)";
    AppendJsonString(body, model.name);
    body += fmt::format(R"(,"object":"model","created":{},"owned_by":"ingot","root":)", model.created);
    AppendJsonString(body, model.llm.options().model);
    body += fmt::format(R"(,"max_model_len":{}}})", model.llm.session_len());
    return body;
  }
  void ListModels(Exchange& exchange) const {
    std::string models;
    for (const auto& model : models_.all()) models += (models.empty() ? "" : ",") + ModelJson(*model);
    exchange.Respond({.body = fmt::format(R"({{"object":"list","data":[{}]}})", models)});
  }
  void GetModel(Exchange& exchange) const {
    const std::string id = PathParameter("/v1/models/{model}", exchange.request().path);
    const ServedModel* model = models_.Find(id);
    if (model == nullptr) return exchange.Respond(ErrorResponse(models_.Unknown(id)));
    exchange.Respond({.body = ModelJson(*model)});
  }

  using BodyHandler = void (*)(const ServerContext&, const Schema&, const std::shared_ptr<Exchange>&);
  struct Post {
    const char *path, *summary, *tag;
    const Schema *request, *response;
    const Schema* chunk = nullptr;  // of a stream of server-sent events
    BodyHandler handler;
  };
  void AddPost(const Post& post) {
    RouteInfo info{.summary = post.summary,
                   .tag = post.tag,
                   .request = post.request,
                   .responses = {{200, "the answer", "application/json", post.response}}};
    if (post.chunk != nullptr) {
      info.responses.push_back(
          {200, "with stream: server-sent events, then [DONE]", "text/event-stream; charset=utf-8"});
    }
    router_.Add({"POST", post.path, std::move(info), [this, post](const std::shared_ptr<Exchange>& exchange) {
                   OnTextThread(context_, exchange,
                                [this, post, exchange] { post.handler(context_, *post.request, exchange); });
                 }});
  }
  void AddAnswerRoutes() {
    AddPost({"/v1/chat/completions", "Answer a conversation", "OpenAI", &schemas_.chat_request, &schemas_.chat_response,
             &schemas_.chat_chunk, ChatCompletions});
    AddPost({"/v1/completions", "Complete text", "OpenAI", &schemas_.completion_request, &schemas_.completion_response,
             &schemas_.completion_response, Completions});
    AddPost({"/generate", "Text or ids in, text and ids out", "LMDeploy", &schemas_.generate_request,
             &schemas_.generate_response, &schemas_.generate_response, Generate});
  }
  void AddTokenRoutes() {
    AddPost({"/v1/encode", "Text to ids, as LMDeploy has it", "LMDeploy", &schemas_.encode_request,
             &schemas_.encode_response, nullptr, Encode});
    AddPost({"/tokenize", "A prompt's or a conversation's ids", "Tokens", &schemas_.tokenize_request,
             &schemas_.tokenize_response, nullptr, Tokenize});
    AddPost({"/detokenize", "Ids to text", "Tokens", &schemas_.detokenize_request, &schemas_.detokenize_response,
             nullptr, Detokenize});
  }

  void AddTerminate() {
    router_.Add({"POST",
                 "/terminate",
                 {.summary = "Finish what runs, then stop the server",
                  .tag = "Administration",
                  .access = Access::kAdmin,
                  .responses = {{200, "it will stop", "application/json", &schemas_.health}}},
                 [this](auto exchange) {
                   exchange->Respond({.body = R"({"status":"draining"})"});
                   if (options_.on_terminate) options_.on_terminate();
                 }});
  }
  void AddDocument() {
    router_.Add({"GET",
                 "/openapi.json",
                 {.summary = "This document", .tag = "Status", .responses = {{200, "an OpenAPI 3.1 document"}}},
                 [this](auto exchange) {
                   exchange->Respond(
                       {.body = OpenApiDocument(router_, {.title = "Ingot",
                                                          .version = options_.version,
                                                          .description = "Large language models over HTTP.",
                                                          .asks_for_keys = keys_->asks_for_keys()})});
                 }});
  }

  const ApiServerOptions options_;
  const std::shared_ptr<Metrics> metrics_;
  llm::Llm& llm_;
  ServedModels models_;
  const ApiSchemas schemas_;
  Router router_;
  std::unique_ptr<ApiKeys> keys_;
  std::atomic<bool> draining_ = false;
  std::shared_ptr<llm::Sessions> sessions_;
  TaskPool text_pool_;  // after what its tasks use
  const ServerContext context_{models_, *metrics_, text_pool_, options_.answers};
  std::unique_ptr<HttpServer> http_;  // last: stops before what its handlers use is gone
};

}  // namespace

Result<std::unique_ptr<ApiServer>> ApiServer::Start(llm::Llm& llm, const ApiServerOptions& options) {
  auto server = std::make_unique<ApiServerImpl>(llm, options);
  INGOT_RETURN_IF_ERROR(server->Start());
  return server;
}

}  // namespace ingot::server
