#include "client/url.h"

#include <algorithm>
#include <charconv>

namespace ingot::client {
namespace {

constexpr std::string_view kHttp = "http://", kHttps = "https://";

bool IsPlain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace

std::string Url::HostHeader() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == (tls ? 443 : 80) ? name : fmt::format("{}:{}", name, port);
}

std::string Url::Text() const { return std::string(tls ? kHttps : kHttp) + HostHeader() + path; }

bool LooksLikeUrl(std::string_view text) { return text.starts_with(kHttp) || text.starts_with(kHttps); }

Result<Url> ParseUrl(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return InvalidArgument("'{}' is no address of a server: {}; write http://HOST:PORT", text, why);
  };
  if (!LooksLikeUrl(text)) return bad("it begins with neither http:// nor https://");
  if (!IsPlain(text)) return bad("it has spaces or letters that an address has not");
  Url url{.tls = text.starts_with(kHttps)};
  std::string_view rest = text.substr(url.tls ? kHttps.size() : kHttp.size());
  if (rest.find_first_of("?#") != std::string_view::npos) return bad("it has a query");
  const size_t slash = std::min(rest.find('/'), rest.size());
  url.path = rest.substr(slash);
  while (url.path.ends_with('/')) url.path.pop_back();
  std::string_view authority = rest.substr(0, slash);
  if (authority.find('@') != std::string_view::npos) return bad("keys go with --api-key");
  size_t host_end = authority.rfind(':');
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return bad("a bracket is not closed");
    url.host = authority.substr(1, close - 1);
    host_end = close + 1;
    if (host_end < authority.size() && authority[host_end] != ':') return bad("something follows the bracket");
  } else {
    url.host = authority.substr(0, host_end);
    if (url.host.find(':') != std::string::npos) return bad("an IPv6 address needs brackets");
  }
  if (url.host.empty()) return bad("the host is missing");
  url.port = url.tls ? 443 : 80;
  if (host_end >= authority.size()) return url;
  const std::string_view port = authority.substr(host_end + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
  if (error != std::errc() || end != port.data() + port.size() || url.port == 0)
    return bad(fmt::format("'{}' is no port", port));
  return url;
}

}  // namespace ingot::client
