// The addresses of servers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace ingot::client {

// "https://host:8443/v1" → {true, "host", 8443, "/v1"}
struct Url {
  bool tls = false;
  std::string host;  // without the brackets of an IPv6 address
  uint16_t port = 0;
  std::string path;  // begins with '/', or is empty; a '/' at its end is dropped

  std::string HostHeader() const;  // "host:8443", "[::1]:80"; without the port where it is the scheme's own
  std::string Text() const;        // "https://host:8443/v1"
};

// "http://…" and "https://…" are addresses; anything else is none.
bool LooksLikeUrl(std::string_view text);
Result<Url> ParseUrl(std::string_view text);

}  // namespace ingot::client
