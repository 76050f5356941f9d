#include "server/server_context.h"

#include <algorithm>
#include <cctype>

namespace ingot::server {
namespace {

// "application/json" or a kind of it, "application/…+json"; "" too, as many scripts leave it out.
bool IsJson(std::string_view content_type) {
  std::string type(content_type.substr(0, content_type.find(';')));
  type.erase(type.find_last_not_of(" \t") + 1);
  std::ranges::transform(type, type.begin(), [](unsigned char c) { return std::tolower(c); });
  constexpr std::string_view kTree = "application/", kSuffix = "+json";
  return type.empty() || type == "application/json" ||
         (type.starts_with(kTree) && type.ends_with(kSuffix) && type.size() > kTree.size() + kSuffix.size());
}

// Bodies that are not plain JSON are refused.
bool AcceptsBody(Exchange& exchange) {
  const HttpRequest& http = exchange.request();
  const std::string_view type = http.Header("Content-Type"), encoding = http.Header("Content-Encoding");
  if (!IsJson(type)) {
    exchange.Respond(ErrorResponse({415, "invalid_request_error", "unsupported_media_type", "",
                                    fmt::format("Content-Type is '{}'; send application/json", type)}));
    return false;
  }
  if (!encoding.empty() && encoding != "identity") {
    exchange.Respond(ErrorResponse({415, "invalid_request_error", "unsupported_content_encoding", "",
                                    fmt::format("Content-Encoding is '{}'; send the body as it is", encoding)}));
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

void Refuse(Exchange& exchange, const FieldError& error) {
  exchange.Respond(ErrorResponse(ToWireError(error, exchange.request().request_id)));
}
void Refuse(Exchange& exchange, const Status& error) {
  exchange.Respond(ErrorResponse(ToWireError(error, exchange.request().request_id)));
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
  exchange->Respond(ErrorResponse(error));
}

HttpHandler OnBody(const ServerContext& context, const Schema& schema, BodyHandler handler) {
  return [&context, &schema, handler = std::move(handler)](const std::shared_ptr<Exchange>& exchange) {
    OnTextThread(context, exchange, [&context, &schema, handler, exchange] {
      const auto body = ReadBody(*exchange, schema);
      if (!body) return;
      const Fields fields(*body);
      const std::string name = fields.Text("model").value_or("");
      const ServedModel* model = context.models.Find(name);
      if (model == nullptr) return exchange->Respond(ErrorResponse(context.models.Unknown(name)));
      handler(*model, fields, exchange);
    });
  };
}

}  // namespace ingot::server
