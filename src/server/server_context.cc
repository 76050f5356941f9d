#include "server/server_context.h"

#include <algorithm>
#include <cctype>

namespace ingot::server {
namespace {

// "application/json" or a kind of it, "application/…+json"; "" too, as many scripts leave it out. Also what `curl -d`
// says of itself, unless a browser sends it: its pages could send that to any server without being asked whether they
// may.
bool IsJson(const HttpRequest& http) {
  std::string_view given = http.Header("Content-Type");
  std::string type(given.substr(0, given.find(';')));
  type.erase(type.find_last_not_of(" \t") + 1);
  std::ranges::transform(type, type.begin(), [](unsigned char c) { return std::tolower(c); });
  if (type == "application/x-www-form-urlencoded")
    return http.Header("Origin").empty() && http.Header("Sec-Fetch-Site").empty();
  constexpr std::string_view kTree = "application/", kSuffix = "+json";
  return type.empty() || type == "application/json" ||
         (type.starts_with(kTree) && type.ends_with(kSuffix) && type.size() > kTree.size() + kSuffix.size());
}

// Bodies that are not plain JSON are refused.
bool AcceptsBody(Exchange& exchange) {
  const HttpRequest& http = exchange.request();
  const std::string_view type = http.Header("Content-Type"), encoding = http.Header("Content-Encoding");
  if (!IsJson(http)) {
    exchange.Respond(ErrorResponse({415, "invalid_request_error", "unsupported_media_type", "",
                                    fmt::format("Content-Type is '{}'; send application/json", type)},
                                   *http.errors));
    return false;
  }
  if (!encoding.empty() && encoding != "identity") {
    exchange.Respond(ErrorResponse({415, "invalid_request_error", "unsupported_content_encoding", "",
                                    fmt::format("Content-Encoding is '{}'; send the body as it is", encoding)},
                                   *http.errors));
    return false;
  }
  return true;
}

std::optional<boost::json::value> ReadBody(Exchange& exchange, const Schema& schema) {
  if (!AcceptsBody(exchange)) return std::nullopt;
  auto body = answers::ParseBody(exchange.request().body, schema);
  exchange.mutable_request().DropBody();
  if (!body) {
    Refuse(exchange, body.error());
    return std::nullopt;
  }
  return *std::move(body);
}

}  // namespace

void Refuse(Exchange& exchange, const WireError& error) {
  exchange.Respond(ErrorResponse(error, *exchange.request().errors));
}
void Refuse(Exchange& exchange, const FieldError& error) {
  Refuse(exchange, ToWireError(error, exchange.request().request_id));
}
void Refuse(Exchange& exchange, const Status& error) {
  Refuse(exchange, ToWireError(error, exchange.request().request_id));
}

Status CheckPriority(const HttpRequest& http, int64_t priority) {
  const bool has_plain_key = !http.key_id.empty() && !http.is_admin;
  if (priority >= 0 || !has_plain_key) return {};
  return Status(InvalidArgument("priority is {}; below 0 is for admin keys (--admin-keys)", priority)).Of("priority");
}

void OnTextThread(const ServerContext& context, const std::shared_ptr<Exchange>& exchange, std::function<void()> task) {
  const auto run = [exchange, task = std::move(task)] {
    if (!exchange->closed()) task();
  };
  if (context.text_pool.TryPost(run, exchange->request().body.size())) return;
  // Soon: a text thread has a request for milliseconds.
  WireError error =
      ToWireError(ResourceExhausted("too many requests wait to be read").value(), exchange->request().request_id);
  error.limit_requests = static_cast<int64_t>(context.text_pool.limits().tasks);
  Refuse(*exchange, error);
}

HttpHandler OnBody(const ServerContext& context, const Schema& schema, BodyHandler handler) {
  return [&context, &schema, handler = std::move(handler)](const std::shared_ptr<Exchange>& exchange) {
    OnTextThread(context, exchange, [&context, &schema, handler, exchange] {
      const auto body = ReadBody(*exchange, schema);
      if (!body) return;
      const Fields fields(*body);
      const std::string name = fields.Text("model").value_or("");
      const ServedModel* model = context.models.Find(name);
      if (model == nullptr) return Refuse(*exchange, context.models.Unknown(name));
      handler(*model, fields, exchange);
    });
  };
}

}  // namespace ingot::server
