#include <algorithm>

#include "base/json.h"
#include "server/errors.h"
#include "server/http.h"

namespace ingot::server {
namespace {

bool EqualIgnoringCase(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

bool Matches(const std::string& pattern, const std::string& path) {
  if (!pattern.ends_with("/*")) return pattern == path;
  const std::string_view prefix = std::string_view(pattern).substr(0, pattern.size() - 1);
  return path.size() > prefix.size() && path.starts_with(prefix);
}

std::string_view RoutedMethod(const std::string& method) { return method == "HEAD" ? std::string_view("GET") : method; }

}  // namespace

std::string_view HttpRequest::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (EqualIgnoringCase(key, name)) return value;
  }
  return {};
}

void Router::Add(std::string method, std::string path, HttpHandler handler) {
  routes_.push_back({std::move(method), std::move(path), std::move(handler)});
}

void Router::Dispatch(std::shared_ptr<Exchange> exchange) const {
  const HttpRequest& request = exchange->request();
  std::string allowed;
  for (const Route& route : routes_) {
    if (!Matches(route.path, request.path)) continue;
    if (route.method == RoutedMethod(request.method)) return route.handler(std::move(exchange));
    allowed += allowed.empty() ? route.method : ", " + route.method;
  }
  if (allowed.empty()) {
    return exchange->Respond(ErrorResponse(
        {404, "not_found_error", "route_not_found", "", fmt::format("no route {} {}", request.method, request.path)}));
  }
  if (request.method == "OPTIONS") return exchange->Respond({204, "", "", {{"Allow", allowed + ", OPTIONS"}}});
  HttpResponse response =
      ErrorResponse({405, "invalid_request_error", "method_not_allowed", "",
                     fmt::format("{} is not for {}; use {}", request.method, request.path, allowed)});
  response.headers.emplace_back("Allow", allowed);
  exchange->Respond(std::move(response));
}

}  // namespace ingot::server
