#include "server/exchange_wrapper.h"

#include "base/json.h"

namespace ingot::server {

std::string ErrorMessage(const HttpResponse& response) {
  if (response.status < 400) return "";
  const auto body = ParseJson(response.body, "error");
  if (!body) return "";
  const auto error = JsonView(*body, "").Find("error");
  return error ? error->String("message", "").value_or("") : "";
}

bool IsKservePath(std::string_view path) { return path == "/v2" || path.starts_with("/v2/"); }

}  // namespace ingot::server
