// API keys: authentication, and the owner of a session.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/http.h"

namespace ingot::server {

struct ApiKeyOptions {
  std::vector<std::string> keys, admin_keys;
  std::string keys_file, admin_keys_file;  // a key a line; "#" begins a comment
};

// Thread safety: all methods from any thread. Keys are kept as SHA-256 hashes and compared in constant time, all of
// them, so that the time says nothing.
class ApiKeys {
 public:
  static Result<std::unique_ptr<ApiKeys>> Load(const ApiKeyOptions& options);
  virtual ~ApiKeys() = default;

  virtual bool asks_for_keys() const = 0;
  // Reads the files again; on an error the old keys hold.
  virtual Status Reload() = 0;
  // Sets the request's key_id and is_admin. 401 or 403 where the route asks for more than it brings. A key comes as
  // "Authorization: Bearer KEY", "X-Api-Key: KEY", or as the password of "Authorization: Basic", which browsers ask
  // for; a password is not taken from a page of another site, but to read.
  virtual std::optional<HttpResponse> Admit(const RouteInfo& route, HttpRequest& request) const = 0;
};

// The key that a request brings; nullopt without one.
std::optional<std::string> KeyOf(const HttpRequest& request);
// The keys of a file's text.
std::vector<std::string> ParseKeys(std::string_view text);

}  // namespace ingot::server
