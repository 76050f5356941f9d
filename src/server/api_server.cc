#include "server/api_server.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "base/json.h"
#include "base/log.h"
#include "server/model_routes.h"
#include "server/openapi.h"
#include "server/slot_times.h"
#include "server/ui/pages.h"

namespace ingot::server {
namespace {

constexpr const char* kDraining = "the server is about to stop";
constexpr const char* kInitializing = "the model is being loaded";
// Of what has no known end: loading, a stalled engine.
constexpr int kUnknownRetrySeconds = 5;
// Of a key's hash, in the log: enough to tell keys apart.
constexpr size_t kShownKeyDigits = 8;

std::string Joined(const std::vector<std::string>& list) { return fmt::format("{}", fmt::join(list, ", ")); }

// Listens from the start, and serves a model once it has one.
class ApiServerImpl : public ApiServer {
 public:
  explicit ApiServerImpl(ApiServerOptions options)
      : options_(std::move(options)),
        metrics_(Metrics::Make({.model_name = options_.model_name,
                                .version = options_.version,
                                .vllm_names = options_.vllm_metrics,
                                .lmdeploy_names = options_.lmdeploy_metrics})) {}

  Status Listen() {
    INGOT_ASSIGN_OR_RETURN(keys_, ApiKeys::Load(options_.keys));
    AddHealthRoutes(router_, nullptr);
    SetGuards(router_, /*loading=*/true);
    HttpOptions http = options_.http;
    http.on_answered = [this](const AnsweredRequest& answered) { Log(answered); };
    INGOT_ASSIGN_OR_RETURN(http_, HttpServer::Listen(http, UnderRootToo(router_)));
    http_->Run();  // what it calls is there
    if (options_.transport != nullptr) {
      INGOT_RETURN_IF_ERROR(options_.transport->Listen(MakeTransportRouter(/*loading=*/true), http.on_answered));
    }
    return {};
  }
  Status Serve(llm::Llm& llm, double startup_seconds) override {
    auto routes = std::make_unique<ModelRoutes>(llm, options_, *metrics_);
    INGOT_RETURN_IF_ERROR(routes->OpenSessions());
    Router router;
    AddHealthRoutes(router, &routes->schemas().health);
    AddStatusRoutes(router, routes->schemas());
    routes->AddTo(router);
    if (options_.allow_terminate) AddTerminate(router, routes->schemas());
    if (options_.docs) {
      AddDocument(router);
      AddPages(router);
    }
    SetGuards(router, /*loading=*/false);
    // Handlers ask these: they are whole before any handler can be called.
    startup_seconds_ = startup_seconds;
    routes_ = std::move(routes);
    router_ = std::move(router);
    llm_ = &llm;
    http_->SetRouter(UnderRootToo(router_));
    if (options_.transport != nullptr) options_.transport->SetRouter(MakeTransportRouter(/*loading=*/false));
    return {};
  }
  ~ApiServerImpl() override {
    if (options_.transport != nullptr) options_.transport->Stop(0);  // its handlers use what follows
  }
  uint16_t port() const override { return http_->port(); }
  const Router& router() const override { return router_; }
  Status Reload() override {
    INGOT_RETURN_IF_ERROR(keys_->Reload());
    INGOT_RETURN_IF_ERROR(http_->ReloadTls());
    return options_.transport != nullptr ? options_.transport->ReloadTls() : Status();
  }
  void Stop(double drain_seconds) override {
    drain_end_ =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(drain_seconds));
    draining_ = true;
    std::thread transport([&] {
      if (options_.transport != nullptr) options_.transport->Stop(drain_seconds);
    });
    http_->Stop(drain_seconds);
    transport.join();
  }

 private:
  using Clock = std::chrono::steady_clock;
  void SetGuards(Router& router, bool loading) {
    router.set_guards({.admit = [this, loading](const RouteInfo& route,
                                                HttpRequest& request) { return Admit(route, request, loading); },
                       .headers = [this](const HttpRequest& request) { return CorsHeaders(request); }});
  }
  Router MakeTransportRouter(bool loading) {
    TransportParts parts{.version = options_.version, .is_ready = [this] { return IsReady(); }};
    if (!loading) {
      parts.http = &router_;
      parts.context = &routes_->context();
      parts.schemas = &routes_->schemas();
      parts.generator = &routes_->generator();
      parts.sessions = &routes_->sessions();
    }
    Router router = options_.transport->MakeRouter(parts);
    SetGuards(router, loading);
    return router;
  }
  bool IsReady() const {
    const llm::Llm* llm = llm_;
    return !draining_ && llm != nullptr && llm->StalledSeconds() < options_.stalled_seconds;
  }
  std::optional<HttpResponse> Admit(const RouteInfo& route, HttpRequest& request, bool loading) const {
    if (auto refusal = keys_->Admit(route, request)) return refusal;
    if (route.access == Access::kOpen) return std::nullopt;
    if (draining_ && !route.while_draining)
      return ErrorResponse({503, "unavailable_error", "draining", "", kDraining, DrainSeconds()}, *route.errors);
    if (loading)
      return ErrorResponse({503, "unavailable_error", "initializing", "", kInitializing, kUnknownRetrySeconds},
                           *route.errors);
    return std::nullopt;
  }

  // Until it waits for nothing: then it ends, and another server may begin.
  int DrainSeconds() const {
    return RetrySeconds(std::chrono::duration<double>(drain_end_.load() - Clock::now()).count());
  }

  Headers CorsHeaders(const HttpRequest& request) const {
    const std::string_view origin = request.Header("Origin");
    const auto& allowed = options_.allow_origins;
    const bool any = std::ranges::find(allowed, "*") != allowed.end();
    if (origin.empty() || (!any && std::ranges::find(allowed, origin) == allowed.end())) return {};
    Headers headers = {{"Access-Control-Allow-Origin", any && !options_.allow_credentials ? "*" : std::string(origin)},
                       {"Vary", "Origin"},
                       {"Access-Control-Expose-Headers",
                        "X-Request-Id, Retry-After, x-should-retry, x-ratelimit-limit-requests, "
                        "x-ratelimit-remaining-requests, x-ratelimit-reset-requests"}};
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
    metrics_->Answered(PatternOf(answered.router, options_.root_path, answered.request.path), answered.status);
    if (answered.slow) metrics_->SlowConsumer();
    if (GetLogLevel() > LogLevel::kInfo) return;
    const HttpRequest& request = answered.request;
    const auto known = [](const std::string& text) { return text.empty() ? "-" : text; };
    const std::string note = TextOf(answered.note);
    LogFields fields = {{"method", known(request.method)},    {"path", known(request.path)},
                        {"status", int64_t{answered.status}}, {"ms", answered.seconds * 1e3},
                        {"client", request.client},           {"id", request.request_id},
                        {"complete", answered.complete}};
    const std::string key = request.key_id.substr(0, kShownKeyDigits);
    if (!key.empty()) fields.push_back({"key", key});
    fields.insert(fields.end(), answered.note.begin(), answered.note.end());
    LogLine(LogLevel::kInfo,
            fmt::format("{} {} {}{}{} {:.1f} ms{} client={} id={}{}{}", known(request.method), known(request.path),
                        answered.status, note.empty() ? "" : " ", note, answered.seconds * 1e3,
                        answered.complete ? "" : " client left", request.client, request.request_id,
                        key.empty() ? "" : " key=", key),
            fields);
  }
  // The route's path, so that metrics have as many labels as there are routes.
  static std::string PatternOf(const Router& router, const std::string& root, std::string_view sent) {
    const std::string_view path = sent.substr(sent.starts_with(root + "/") ? root.size() : 0);
    for (const Router::Route& route : router.routes()) {
      const size_t open = route.path.find('{');
      if (route.path == path || (open != std::string::npos && path.starts_with(route.path.substr(0, open))))
        return route.path;
    }
    return "other";
  }

  // Every route once more below --root-path, where a proxy passes paths on as they are. The root itself leads to its
  // page, which names what it loads as it is from "/ingot/".
  Router UnderRootToo(Router router) const {
    const std::string& root = options_.root_path;
    if (root.empty()) return router;
    const std::vector<Router::Route> routes = router.routes();
    for (Router::Route route : routes) {
      route.path = root + route.path;
      route.handler = [root, handler = std::move(route.handler)](std::shared_ptr<Exchange> exchange) {
        exchange->mutable_request().path.erase(0, root.size());
        handler(std::move(exchange));
      };
      router.Add(std::move(route));
    }
    router.Add("GET", root, [root](const std::shared_ptr<Exchange>& exchange) {
      exchange->Respond({308, "", "", {{"Location", root + "/"}}});
    });
    return router;
  }

  void AddHealthRoutes(Router& router, const Schema* schema) {
    const auto health = [schema](const char* summary) {
      return RouteInfo{.summary = summary,
                       .tag = "Status",
                       .access = Access::kOpen,
                       .responses = {{200, "healthy", "application/json", schema},
                                     {503, "not healthy", "application/json", schema}}};
    };
    router.Add(
        {"GET", "/health", health("Whether the engine makes progress"), [this](auto exchange) { Health(*exchange); }});
    router.AddAlias("/v1/health", "/health");  // llama-server's
    router.AddAlias("/ping", "/health");       // vLLM's
    router.Add({"GET", "/health/live", health("Whether the process answers"),
                [](auto exchange) { exchange->Respond({.body = R"({"status":"healthy"})"}); }});
    router.Add(
        {"GET", "/health/ready", health("Whether it takes requests"), [this](auto exchange) { Health(*exchange); }});
    const RouteInfo kserve{.access = Access::kOpen, .errors = &answers::kFlatErrors, .hidden = true};
    router.Add({"GET", "/v2/health/live", kserve, [](auto exchange) { exchange->Respond({}); }});
    router.Add({"GET", "/v2/health/ready", kserve, [this](auto exchange) { Health(*exchange); }});
  }
  void AddStatusRoutes(Router& router, const ApiSchemas& schemas) {
    router.Add({"GET",
                "/version",
                {.summary = "Ingot's version",
                 .tag = "Status",
                 .responses = {{200, "the version", "application/json", &schemas.version}}},
                [this](auto exchange) {
                  exchange->Respond({.body = fmt::format(R"({{"version":"{}"}})", options_.version)});
                }});
    router.Add({"GET",
                "/metrics",
                {.summary = "Counters and gauges for Prometheus",
                 .tag = "Status",
                 .while_draining = true,
                 .responses = {{200, "Prometheus' text format", "text/plain; version=0.0.4; charset=utf-8"}}},
                [this](auto exchange) { ScrapeMetrics(*exchange); }});
  }

  static void Unhealthy(Exchange& exchange, const char* status, const std::string& message, int retry_after_seconds) {
    exchange.Respond({.status = 503,
                      .body = fmt::format(R"({{"status":"{}","message":"{}"}})", status, message),
                      .headers = {{"Retry-After", std::to_string(retry_after_seconds)}}});
  }
  void Health(Exchange& exchange) const {
    if (draining_) return Unhealthy(exchange, "draining", kDraining, DrainSeconds());
    const llm::Llm* llm = llm_;
    if (llm == nullptr) return Unhealthy(exchange, "initializing", kInitializing, kUnknownRetrySeconds);
    const double stalled = llm->StalledSeconds();
    if (stalled < options_.stalled_seconds) return exchange.Respond({.body = R"({"status":"healthy"})"});
    Unhealthy(exchange, "unhealthy", fmt::format("no progress for {:.0f} s", stalled), kUnknownRetrySeconds);
  }

  void ScrapeMetrics(Exchange& exchange) {
    const llm::Llm& llm = *llm_.load();
    exchange.Respond({.content_type = "text/plain; version=0.0.4; charset=utf-8",
                      .body = metrics_->Scrape({.engine = llm.stats(),
                                                .block_tokens = llm.options().cache_block_seq_len,
                                                .prefix_caching = llm.options().enable_prefix_caching,
                                                .unread = routes_->num_unread(),
                                                .connections = http_->open_connections(),
                                                .body_bytes = http_->body_bytes(),
                                                .sessions = routes_->sessions().count(),
                                                .failed_session_writes = routes_->sessions().failed_writes(),
                                                .startup_seconds = startup_seconds_,
                                                .device = llm.device()})});
  }

  void AddTerminate(Router& router, const ApiSchemas& schemas) {
    router.Add({"POST",
                "/terminate",
                {.summary = "Finish what runs, then stop the server",
                 .tag = "Administration",
                 .access = Access::kAdmin,
                 .responses = {{200, "it will stop", "application/json", &schemas.health}}},
                [this](auto exchange) {
                  exchange->Respond({.body = R"({"status":"draining"})"});
                  if (options_.on_terminate) options_.on_terminate();
                }});
  }
  void AddDocument(Router& router) {
    router.Add({"GET",
                "/openapi.json",
                {.summary = "This document", .tag = "Status", .responses = {{200, "an OpenAPI 3.1 document"}}},
                [this](auto exchange) {
                  exchange->Respond(
                      {.body = OpenApiDocument(router_, {.title = "Ingot",
                                                         .version = options_.version,
                                                         .description = "Large language models over HTTP.",
                                                         .asks_for_keys = keys_->asks_for_keys(),
                                                         .root_path = options_.root_path})});
                }});
  }

  const ApiServerOptions options_;
  const std::shared_ptr<Metrics> metrics_;
  std::unique_ptr<ApiKeys> keys_;
  std::atomic<bool> draining_ = false;
  std::atomic<Clock::time_point> drain_end_;  // set before draining_
  std::atomic<llm::Llm*> llm_ = nullptr;      // null: it is being loaded
  double startup_seconds_ = 0;
  std::unique_ptr<ModelRoutes> routes_;  // null: the model is being loaded
  Router router_;
  std::unique_ptr<HttpServer> http_;  // last: stops before what its handlers use is gone
};

}  // namespace

Result<std::unique_ptr<ApiServer>> ApiServer::Listen(const ApiServerOptions& options) {
  auto server = std::make_unique<ApiServerImpl>(options);
  INGOT_RETURN_IF_ERROR(server->Listen());
  return server;
}

Result<std::unique_ptr<ApiServer>> ApiServer::Start(llm::Llm& llm, const ApiServerOptions& options) {
  INGOT_ASSIGN_OR_RETURN(auto server, Listen(options));
  INGOT_RETURN_IF_ERROR(server->Serve(llm, 0));
  return server;
}

}  // namespace ingot::server
