#include "server/schema/openapi.h"

#include <map>

#include "base/json.h"

namespace ingot::server {
namespace {

struct ErrorInfo {
  int status;
  const char* description;
};
constexpr ErrorInfo kErrors[] = {
    {400, "the request is malformed, out of range, or asks for what this server does not do"},
    {401, "no API key, or one that is not known"},
    {403, "the route asks for an admin key"},
    {404, "there is no such model, session or request"},
    {405, "this method is not for this path"},
    {408, "the request did not arrive in time"},
    {409, "the session is answering another request"},
    {413, "the body is too large"},
    {415, "the body is not application/json, or is compressed"},
    {429,
     "a queue of requests is full, and Retry-After says when to come back; or as many sessions are kept as may be, "
     "which "
     "waiting does not help (x-should-retry: false)"},
    {431, "the headers, or the address with them, are too large"},
    {500, "a fault of the server; its log has the cause"},
    {503, "the server is starting, draining or overloaded; Retry-After says when to come back"},
    {504, "the request's deadline has passed"},
};

class Document {
 public:
  explicit Document(const OpenApiOptions& options) : options_(options) {}

  std::string Write(const Router& router) {
    out_ = R"({"openapi":"3.1.0","info":{"title":)";
    AppendJsonString(out_, options_.title);
    out_ += R"(,"version":)";
    AppendJsonString(out_, options_.version);
    out_ += R"(,"description":)";
    AppendJsonString(out_, options_.description);
    out_ +=
        R"(,"license":{"name":"Apache-2.0","identifier":"Apache-2.0"}},"tags":[{"name":"OpenAI"},{"name":"Sessions"},{"name":"LMDeploy"},{"name":"Tokens"},{"name":"Models"},{"name":"Status"}],"paths":{)";
    Paths(router);
    out_ += R"(},"components":{"schemas":{)";
    Components();
    out_ +=
        R"(},"securitySchemes":{"key":{"type":"http","scheme":"bearer","description":"an API key of the server"}}}})";
    return std::move(out_);
  }

 private:
  void Paths(const Router& router) {
    std::map<std::string, std::vector<const Router::Route*>> paths;
    for (const Router::Route& route : router.routes()) {
      if (!route.info.hidden) paths[route.documented_path()].push_back(&route);
    }
    bool first = true;
    for (const auto& [path, routes] : paths) {
      if (!std::exchange(first, false)) out_ += ',';
      AppendJsonString(out_, path);
      out_ += ":{";
      for (size_t i = 0; i < routes.size(); ++i) {
        if (i > 0) out_ += ',';
        Operation(path, *routes[i]);
      }
      out_ += '}';
    }
  }

  void Operation(const std::string& path, const Router::Route& route) {
    std::string method = route.method, id = method + path;
    for (char& c : method) c = static_cast<char>(std::tolower(c));
    for (char& c : id) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? static_cast<char>(std::tolower(c)) : '_';
    out_ += fmt::format(R"("{}":{{"operationId":"{}","summary":)", method, id);
    AppendJsonString(out_, route.info.summary);
    out_ += R"(,"tags":[)";
    AppendJsonString(out_, route.info.tag);
    out_ += ']';
    Parameters(route.info);
    if (route.info.request != nullptr) {
      out_ += R"(,"requestBody":{"required":true,"content":{"application/json":{"schema":)";
      AppendJsonSchema(*route.info.request, out_, &components_);
      out_ += "}}}";
    }
    Responses(route.info);
    const bool guarded = route.info.access != Access::kOpen && options_.asks_for_keys;
    out_ += guarded ? R"(,"security":[{"key":[]}]})" : R"(,"security":[]})";
  }

  void Parameters(const RouteInfo& info) {
    if (info.parameters.empty()) return;
    out_ += R"(,"parameters":[)";
    for (size_t i = 0; i < info.parameters.size(); ++i) {
      const Parameter& parameter = info.parameters[i];
      if (i > 0) out_ += ',';
      out_ += R"({"name":)";
      AppendJsonString(out_, parameter.name);
      out_ +=
          fmt::format(R"(,"in":"{}","required":{},"schema":)", parameter.in_path ? "path" : "query", parameter.in_path);
      AppendJsonSchema(parameter.schema, out_, &components_);
      out_ += '}';
    }
    out_ += ']';
  }

  void Responses(const RouteInfo& info) {
    out_ += R"(,"responses":{)";
    std::map<int, std::vector<const ResponseInfo*>> by_status;  // whole and streamed
    for (const ResponseInfo& response : info.responses) by_status[response.status].push_back(&response);
    bool first = true;
    for (const auto& [status, responses] : by_status) {
      if (!std::exchange(first, false)) out_ += ',';
      out_ += fmt::format(R"("{}":{{"description":)", status);
      AppendJsonString(out_, responses[0]->description);
      out_ += R"(,"content":{)";
      for (size_t i = 0; i < responses.size(); ++i) {
        if (i > 0) out_ += ',';
        AppendJsonString(out_, responses[i]->content_type);
        out_ += ":{";
        if (responses[i]->schema != nullptr) {
          out_ += R"("schema":)";
          Content(*responses[i]);
        }
        out_ += '}';
      }
      out_ += "}}";
    }
    for (const ErrorInfo& error : kErrors) {
      if (by_status.contains(error.status)) continue;
      out_ += fmt::format(R"(,"{}":{{"description":)", error.status);
      AppendJsonString(out_, error.description);
      out_ += R"(,"content":{"application/json":{"schema":)";
      AppendJsonSchema(ErrorSchema(), out_, &components_);
      out_ += "}}}";
    }
    out_ += '}';
  }

  // Of a stream OpenAPI 3.1 describes a line, an answer or an error, or an event, whose data is text: a piece as JSON,
  // or how it ends, [DONE] or an error.
  void Content(const ResponseInfo& response) {
    const bool is_stream = response.content_type.starts_with("text/event-stream");
    const bool is_lines = response.content_type.starts_with("application/x-ndjson");
    if (is_lines) out_ += R"({"anyOf":[)";
    if (is_stream) {
      out_ += R"({"type":"object","required":["data"],"properties":{"data":{"type":"string","anyOf":[{)";
      out_ += R"("contentMediaType":"application/json","contentSchema":{"anyOf":[)";
    }
    AppendJsonSchema(*response.schema, out_, &components_);
    if (is_stream || is_lines) {
      out_ += ',';
      AppendJsonSchema(ErrorSchema(), out_, &components_);
    }
    if (is_lines) out_ += "]}";
    if (is_stream) {
      out_ += R"(]}},{"const":"[DONE]"}]}}})";
    }
  }

  // Grows while it is written: parts have parts.
  void Components() {
    for (size_t i = 0; i < components_.size(); ++i) {
      if (i > 0) out_ += ',';
      AppendJsonString(out_, components_[i]->name);
      out_ += ':';
      AppendComponent(*components_[i], out_, &components_);
    }
  }

  const OpenApiOptions& options_;
  std::string out_;
  std::vector<const Schema*> components_;
};

}  // namespace

std::string OpenApiDocument(const Router& router, const OpenApiOptions& options) {
  return Document(options).Write(router);
}

const Schema& ErrorSchema() {
  static const Schema schema = Object({{"error",
                                        Object({{"message", String(0, 1 << 16), true},
                                                {"type", String(1, 64), true},
                                                {"param", String(0, 1 << 10).Nullable(), true},
                                                {"code", String(0, 64).Nullable(), true}}),
                                        true}})
                                   .Named("Error");
  return schema;
}

}  // namespace ingot::server
