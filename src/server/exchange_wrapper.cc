#include "server/exchange_wrapper.h"

#include "base/json.h"
#include "base/json_writer.h"

namespace ingot::server {
namespace {

void Flatten(HttpResponse* response) {
  const std::string message = ErrorMessage(*response);
  if (!message.empty()) response->body = JsonObject().Add("error", message).Text();
}

class FlatErrorsExchange : public ExchangeWrapper {
 public:
  using ExchangeWrapper::ExchangeWrapper;
  void Respond(HttpResponse response) override {
    Flatten(&response);
    inner().Respond(std::move(response));
  }
  void FailStream(HttpResponse instead, std::string last) override {
    Flatten(&instead);
    inner().FailStream(std::move(instead), std::move(last));
  }
};

}  // namespace

std::string ErrorMessage(const HttpResponse& response) {
  if (response.status < 400) return "";
  const auto body = ParseJson(response.body, "error");
  if (!body) return "";
  const auto error = JsonView(*body, "").Find("error");
  return error ? error->String("message", "").value_or("") : "";
}

std::shared_ptr<Exchange> WithFlatErrors(std::shared_ptr<Exchange> exchange) {
  return std::make_shared<FlatErrorsExchange>(std::move(exchange));
}

bool IsKservePath(std::string_view path) { return path == "/v2" || path.starts_with("/v2/"); }

}  // namespace ingot::server
