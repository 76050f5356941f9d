#include "server/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "base/mutex.h"
#include "base/text_file.h"

namespace ingot::server {
namespace {

constexpr size_t kMaxKeysBytes = size_t{1} << 20;
constexpr size_t kMaxKeyBytes = 4096;

using Hash = std::array<unsigned char, SHA256_DIGEST_LENGTH>;

Hash HashOf(std::string_view text) {
  Hash hash;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash.data());
  return hash;
}

std::vector<Hash> HashesOf(const std::vector<std::string>& keys) {
  std::vector<Hash> hashes;
  for (const std::string& key : keys) hashes.push_back(HashOf(key));
  return hashes;
}

bool IsOneOf(const Hash& hash, const std::vector<Hash>& keys) {
  int found = 0;
  for (const Hash& key : keys) found |= CRYPTO_memcmp(hash.data(), key.data(), key.size()) == 0 ? 1 : 0;
  return found != 0;
}

// Half of the hash names the key in logs and in the store of sessions; the key cannot be had from it.
std::string NameOf(const Hash& hash) {
  std::string name;
  for (size_t i = 0; i < hash.size() / 2; ++i) name += fmt::format("{:02x}", hash[i]);
  return name;
}

// The password of "user:password" in base64.
std::optional<std::string> BasicPassword(std::string_view base64) {
  if (base64.size() % 4 != 0 || base64.size() > kMaxKeyBytes || base64.empty()) return std::nullopt;
  std::string text(base64.size(), '\0');
  const int size =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(base64.data()), static_cast<int>(base64.size()));
  if (size < 0) return std::nullopt;
  size_t padding = 0;
  while (padding < 2 && base64[base64.size() - 1 - padding] == '=') ++padding;
  text.resize(static_cast<size_t>(size) - padding);
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return std::nullopt;
  return text.substr(colon + 1);
}

bool StartsWithWord(std::string_view text, std::string_view word) {
  if (text.size() <= word.size() || text[word.size()] != ' ') return false;
  for (size_t i = 0; i < word.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(text[i])) != std::tolower(static_cast<unsigned char>(word[i])))
      return false;
  }
  return true;
}

// Browsers send a password they know with every request, also one made by another site's page, which could so act in
// the user's name. Reading is harmless: that page does not get the answer.
bool IsFromAnotherSite(const HttpRequest& request) {
  if (request.method == "GET" || request.method == "HEAD") return false;
  if (const std::string_view site = request.Header("Sec-Fetch-Site"); !site.empty()) {
    return site != "same-origin" && site != "none";
  }
  // Browsers send that one only over trusted connections; otherwise the origin of the page.
  const std::string_view origin = request.Header("Origin");
  const size_t scheme = origin.find("://");
  return !origin.empty() && (scheme == std::string_view::npos || origin.substr(scheme + 3) != request.Header("Host"));
}

class ApiKeysImpl : public ApiKeys {
 public:
  explicit ApiKeysImpl(ApiKeyOptions options) : options_(std::move(options)) {}

  bool asks_for_keys() const override {
    const MutexLock lock(mutex_);
    return !keys_.empty() || !admin_keys_.empty();
  }

  Status Reload() override {
    std::vector<std::string> keys = options_.keys, admin_keys = options_.admin_keys;
    INGOT_RETURN_IF_ERROR(AddFile(options_.keys_file, &keys));
    INGOT_RETURN_IF_ERROR(AddFile(options_.admin_keys_file, &admin_keys));
    for (const auto* given : {&keys, &admin_keys}) {
      if (std::ranges::find(*given, "") != given->end())
        return InvalidArgument("an API key is empty; no client can send it");
      for (const std::string& key : *given) {
        if (key.size() > kMaxKeyBytes)
          return InvalidArgument("an API key has {} bytes; at most {} are taken", key.size(), kMaxKeyBytes);
      }
    }
    const MutexLock lock(mutex_);
    keys_ = HashesOf(keys);
    admin_keys_ = HashesOf(admin_keys);
    return {};
  }

  std::optional<HttpResponse> Admit(const RouteInfo& route, HttpRequest& request) const override {
    const auto key = KeyOf(request);
    bool known = false, asks = false;
    {
      const MutexLock lock(mutex_);
      asks = !keys_.empty() || !admin_keys_.empty();
      if (key) {
        const Hash hash = HashOf(*key);
        request.is_admin = IsOneOf(hash, admin_keys_);
        known = IsOneOf(hash, keys_) || request.is_admin;
        if (known) request.key_id = NameOf(hash);
      }
    }
    if (route.access == Access::kOpen) return std::nullopt;
    if (asks && !known) {
      HttpResponse response =
          ErrorResponse({401, "authentication_error", "invalid_api_key", "",
                         key ? "the API key is not known here" : "no API key; send it as 'Authorization: Bearer KEY'"},
                        *route.errors);
      response.headers.emplace_back("WWW-Authenticate",
                                    route.hidden ? "Basic realm=\"Ingot: the API key is the password\"" : "Bearer");
      return response;
    }
    if (route.access != Access::kAdmin || request.is_admin) return std::nullopt;
    return ErrorResponse({403, "permission_error", "admin_only", "",
                          "this route asks for an admin key; the server takes them with --admin-keys"},
                         *route.errors);
  }

 private:
  static Status AddFile(const std::string& path, std::vector<std::string>* keys) {
    if (path.empty()) return {};
    INGOT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxKeysBytes));
    std::vector<std::string> more = ParseKeys(text);
    if (more.empty()) return InvalidArgument("{}: has no key, which would let everyone in", path);
    keys->insert(keys->end(), more.begin(), more.end());
    return {};
  }

  const ApiKeyOptions options_;
  mutable Mutex mutex_;
  std::vector<Hash> keys_ INGOT_GUARDED_BY(mutex_), admin_keys_ INGOT_GUARDED_BY(mutex_);
};

}  // namespace

std::optional<std::string> KeyOf(const HttpRequest& request) {
  const std::string_view authorization = request.Header("Authorization");
  if (StartsWithWord(authorization, "Bearer")) return std::string(authorization.substr(7));
  if (StartsWithWord(authorization, "Basic")) {
    if (IsFromAnotherSite(request)) return std::nullopt;
    return BasicPassword(authorization.substr(6));
  }
  if (const std::string_view key = request.Header("X-Api-Key"); !key.empty()) return std::string(key);
  return std::nullopt;
}

std::vector<std::string> ParseKeys(std::string_view text) {
  std::vector<std::string> keys;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t first = line.find_first_not_of(" \t\r"), last = line.find_last_not_of(" \t\r");
    if (first == std::string_view::npos || line[first] == '#') continue;
    line = line.substr(first, last - first + 1);
    keys.emplace_back(line);
  }
  return keys;
}

Result<std::unique_ptr<ApiKeys>> ApiKeys::Load(const ApiKeyOptions& options) {
  auto keys = std::make_unique<ApiKeysImpl>(options);
  INGOT_RETURN_IF_ERROR(keys->Reload());
  return keys;
}

}  // namespace ingot::server
