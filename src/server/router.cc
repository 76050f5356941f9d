#include <algorithm>
#include <charconv>

#include "base/json.h"
#include "server/exchange_wrapper.h"
#include "server/http.h"

namespace ingot::server {
namespace {

bool EqualIgnoringCase(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

struct Pattern {
  std::string_view prefix, suffix;
  bool has_parameter = false;
};
Pattern PatternOf(std::string_view path) {
  const size_t open = path.find('{'), close = path.find('}');
  if (open == std::string_view::npos) return {.prefix = path, .suffix = {}};
  return {path.substr(0, open), path.substr(close + 1), true};
}

bool Matches(std::string_view pattern_text, std::string_view path) {
  const Pattern pattern = PatternOf(pattern_text);
  if (!pattern.has_parameter) return path == pattern.prefix;
  if (path.size() <= pattern.prefix.size() + pattern.suffix.size()) return false;
  if (!path.starts_with(pattern.prefix) || !path.ends_with(pattern.suffix)) return false;
  return pattern.suffix.empty() || PathParameter(pattern_text, path).find('/') == std::string::npos;
}

size_t FixedLength(std::string_view pattern_text) {
  const Pattern pattern = PatternOf(pattern_text);
  return pattern.prefix.size() + pattern.suffix.size() + (pattern.has_parameter ? 0 : 1);
}

// A parameter's text as the JSON value that its schema checks: what should be a number and is none stays text.
boost::json::value ValueOf(const std::string& text, Schema::Type type) {
  if (type == Schema::Type::kInteger) {
    if (const auto number = WholeNumber(text)) return *number;
  }
  return boost::json::string(text);
}

// The first parameter of a query that does not fit what the route says of it.
std::optional<FieldError> CheckQuery(const RouteInfo& route, std::string_view query) {
  for (const Parameter& parameter : route.parameters) {
    if (parameter.in_path) continue;
    const auto text = QueryParameter(query, parameter.name);
    if (!text) continue;
    const boost::json::value value = ValueOf(*text, parameter.schema.type);
    if (auto error = Check(parameter.schema, JsonView(value, "query: " + parameter.name))) return error;
  }
  return std::nullopt;
}

std::string_view RoutedMethod(const std::string& method) { return method == "HEAD" ? std::string_view("GET") : method; }

}  // namespace

HttpResponse ErrorResponse(const WireError& error, const ErrorStyle& style) {
  HttpResponse response{.status = error.status, .body = style.body(error)};
  // What waiting does not help is not to be tried again: clients would, of themselves.
  if (error.status == 504 || error.code == answers::kTooManySessions) {
    response.headers.emplace_back("x-should-retry", "false");
  } else if (error.status == 429 || error.status == 503) {
    const std::string seconds = std::to_string(error.retry_after_seconds);
    response.headers.emplace_back("Retry-After", seconds);
    if (error.limit_requests > 0) {
      response.headers.emplace_back("x-ratelimit-limit-requests", std::to_string(error.limit_requests));
      response.headers.emplace_back("x-ratelimit-remaining-requests", "0");
      response.headers.emplace_back("x-ratelimit-reset-requests", seconds + "s");
    }
  }
  return response;
}

std::string_view HttpRequest::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (EqualIgnoringCase(key, name)) return value;
  }
  return {};
}

void Router::Add(Route route) { routes_.push_back(std::move(route)); }

void Router::Add(std::string method, std::string path, HttpHandler handler) {
  Add({std::move(method), std::move(path), {.hidden = true}, std::move(handler)});
}

void Router::AddAlias(const std::string& alias, const std::string& path) {
  for (size_t i = 0, count = routes_.size(); i < count; ++i) {
    if (routes_[i].path != path) continue;
    Route route = routes_[i];
    route.path = alias;
    route.info.hidden = true;
    Add(std::move(route));
  }
}

Headers Router::HeadersFor(const HttpRequest& request) const {
  return guards_.headers ? guards_.headers(request) : Headers{};
}

void Router::Dispatch(std::shared_ptr<Exchange> exchange) const {
  HttpRequest& request = exchange->mutable_request();
  const Route* chosen = nullptr;
  size_t longest = 0;
  std::string allowed;
  for (const Route& route : routes_) {
    if (!Matches(route.path, request.path) || FixedLength(route.path) < longest) continue;
    if (FixedLength(route.path) > longest) {
      longest = FixedLength(route.path);
      chosen = nullptr;
      allowed.clear();
    }
    if (route.method == RoutedMethod(request.method)) chosen = &route;
    allowed += (allowed.empty() ? "" : ", ") + route.method + (route.method == "GET" ? ", HEAD" : "");
  }
  if (request.method == "OPTIONS" && request.path == "*") return exchange->Respond({204, "", "", {}});
  if (request.method == "OPTIONS" && !allowed.empty()) {
    return exchange->Respond({204, "", "", {{"Allow", allowed + ", OPTIONS"}}});
  }
  // Whoever has no key learns nothing of what there is.
  static const RouteInfo kUnknown, kUnknownOfKserve{.errors = &answers::kFlatErrors};
  const RouteInfo& unknown = IsKservePath(request.path) ? kUnknownOfKserve : kUnknown;
  const RouteInfo& info = chosen != nullptr ? chosen->info : unknown;
  request.errors = info.errors;
  if (guards_.admit) {
    if (auto refusal = guards_.admit(info, request)) {
      return exchange->Respond(*std::move(refusal));
    }
  }
  if (chosen != nullptr) {
    if (const auto error = CheckQuery(info, request.query)) {
      return exchange->Respond(ErrorResponse(ToWireError(*error, request.request_id), *request.errors));
    }
    return chosen->handler(std::move(exchange));
  }
  if (allowed.empty()) {
    return exchange->Respond(ErrorResponse(
        {404, "not_found_error", "route_not_found", "", fmt::format("no route {} {}", request.method, request.path)},
        *request.errors));
  }
  HttpResponse response =
      ErrorResponse({405, "invalid_request_error", "method_not_allowed", "",
                     fmt::format("{} is not for {}; use {}", request.method, request.path, allowed)},
                    *request.errors);
  response.headers.emplace_back("Allow", allowed);
  exchange->Respond(std::move(response));
}

std::string PathParameter(std::string_view pattern_text, std::string_view path) {
  const Pattern pattern = PatternOf(pattern_text);
  return std::string(path.substr(pattern.prefix.size(), path.size() - pattern.prefix.size() - pattern.suffix.size()));
}

std::optional<std::string> QueryParameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    if (PercentDecode(pair.substr(0, equals), true) != name) continue;
    return PercentDecode(pair.substr(std::min(equals + 1, pair.size())), true);
  }
  return std::nullopt;
}

std::optional<int64_t> WholeNumber(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string PercentDecode(std::string_view text, bool in_query) {
  const auto hex = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
      out += static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
      i += 2;
    } else {
      out += in_query && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

}  // namespace ingot::server
