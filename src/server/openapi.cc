#include "server/openapi.h"

#include <map>

#include "base/json_writer.h"

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

// Text that is JSON already.
std::string Verbatim(const std::string& json) { return json; }

class Document {
 public:
  explicit Document(const OpenApiOptions& options) : options_(options) {}

  std::string Write(const Router& router) {
    const auto tag = [](const char* name) { return JsonObject().Add("name", name).Text(); };
    const std::vector<const char*> tags = {"OpenAI", "Sessions", "LMDeploy", "llama.cpp",
                                           "ollama", "Tokens",   "Models",   "Status"};
    const auto license = JsonObject().Add("name", "Apache-2.0").Add("identifier", "Apache-2.0");
    const auto info = JsonObject()
                          .Add("title", options_.title)
                          .Add("version", options_.version)
                          .Add("description", options_.description)
                          .AddJson("license", license.Text());
    const std::string paths = Paths(router);  // which name components
    const auto key =
        JsonObject().Add("type", "http").Add("scheme", "bearer").Add("description", "an API key of the server");
    JsonObject json;
    json.Add("openapi", "3.1.0").AddJson("info", info.Text());
    if (!options_.root_path.empty())
      json.AddJson("servers", fmt::format("[{}]", JsonObject().Add("url", options_.root_path).Text()));
    return json.AddJson("tags", JsonList(tags, tag))
        .AddJson("paths", paths)
        .AddJson("components", JsonObject()
                                   .AddJson("schemas", Components())
                                   .AddJson("securitySchemes", JsonObject().AddJson("key", key.Text()).Text())
                                   .Text())
        .Text();
  }

 private:
  std::string Paths(const Router& router) {
    std::map<std::string, JsonObject> paths;
    for (const Router::Route& route : router.routes()) {
      if (route.info.hidden) continue;
      std::string method = route.method;
      for (char& c : method) c = static_cast<char>(std::tolower(c));
      paths[route.path].AddJson(method, Operation(route));
    }
    JsonObject json;
    for (const auto& [path, operations] : paths) json.AddJson(path, operations.Text());
    return json.Text();
  }

  std::string Operation(const Router::Route& route) {
    const RouteInfo& info = route.info;
    std::string id;  // "get_v1_models_model"
    for (const char c : route.method + route.path + "/") {
      const bool is_letter = std::isalnum(static_cast<unsigned char>(c)) != 0;
      if (is_letter) id += static_cast<char>(std::tolower(c));
      if (!is_letter && !id.ends_with('_')) id += '_';
    }
    id.pop_back();
    JsonObject json;
    json.Add("operationId", id).Add("summary", info.summary).AddJson("tags", JsonList(std::vector{info.tag}));
    if (!info.parameters.empty()) {
      json.AddJson("parameters", JsonList(info.parameters, [&](const Parameter& parameter) {
                     return JsonObject()
                         .Add("name", parameter.name)
                         .Add("in", parameter.in_path ? "path" : "query")
                         .Add("required", parameter.in_path)
                         .AddJson("schema", SchemaOf(parameter.schema))
                         .Text();
                   }));
    }
    if (info.request != nullptr) {
      const std::string content = JsonObject().AddJson("application/json", WithSchema(SchemaOf(*info.request))).Text();
      json.AddJson("requestBody", JsonObject().Add("required", true).AddJson("content", content).Text());
    }
    json.AddJson("responses", Responses(info));
    const bool guarded = info.access != Access::kOpen && options_.asks_for_keys;
    return json.AddJson("security", guarded ? R"([{"key":[]}])" : "[]").Text();
  }

  std::string Responses(const RouteInfo& info) {
    std::map<int, std::vector<const ResponseInfo*>> by_status;  // whole and streamed
    for (const ResponseInfo& response : info.responses) by_status[response.status].push_back(&response);
    JsonObject json;
    const auto add = [&](int status, const std::string& description, const JsonObject& content) {
      json.AddJson(std::to_string(status),
                   JsonObject().Add("description", description).AddJson("content", content.Text()).Text());
    };
    for (const auto& [status, responses] : by_status) {
      JsonObject content;
      for (const ResponseInfo* response : responses)
        content.AddJson(response->content_type,
                        response->schema != nullptr ? WithSchema(Content(info, *response)) : "{}");
      add(status, responses[0]->description, content);
    }
    for (const auto& [status, description] : kErrors) {
      if (by_status.contains(status)) continue;
      add(status, description, JsonObject().AddJson("application/json", WithSchema(SchemaOf(info.errors->schema()))));
    }
    return json.Text();
  }

  // Of a stream OpenAPI 3.1 describes a line, an answer or an error, or an event, whose data is text: a piece as JSON,
  // or how it ends, [DONE] or an error.
  std::string Content(const RouteInfo& info, const ResponseInfo& response) {
    const bool is_stream = response.content_type.starts_with("text/event-stream");
    const std::string piece = SchemaOf(*response.schema);
    if (!is_stream && !response.content_type.starts_with("application/x-ndjson")) return piece;
    const std::string any =
        JsonObject().AddJson("anyOf", JsonList(std::vector{piece, SchemaOf(info.errors->schema())}, Verbatim)).Text();
    if (!is_stream) return any;
    const std::string json =
        JsonObject().Add("contentMediaType", "application/json").AddJson("contentSchema", any).Text();
    const std::vector<std::string> either = {json, R"({"const":"[DONE]"})"};
    const auto data = JsonObject().Add("type", "string").AddJson("anyOf", JsonList(either, Verbatim));
    return JsonObject()
        .Add("type", "object")
        .AddJson("required", R"(["data"])")
        .AddJson("properties", JsonObject().AddJson("data", data.Text()).Text())
        .Text();
  }

  // Grows while it is written: parts have parts.
  std::string Components() {
    JsonObject json;
    for (size_t i = 0; i < components_.size(); ++i)
      json.AddJson(components_[i]->name, answers::JsonComponent(*components_[i], &components_));
    return json.Text();
  }

  std::string SchemaOf(const Schema& schema) { return answers::JsonSchema(schema, &components_); }
  static std::string WithSchema(const std::string& schema) { return JsonObject().AddJson("schema", schema).Text(); }

  const OpenApiOptions& options_;
  std::vector<const Schema*> components_;
};

}  // namespace

std::string OpenApiDocument(const Router& router, const OpenApiOptions& options) {
  return Document(options).Write(router);
}

}  // namespace ingot::server
