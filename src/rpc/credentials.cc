#include "rpc/credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <atomic>
#include <mutex>

#include "base/text_file.h"
#include "server/tls.h"

namespace ingot::rpc {
namespace {

constexpr size_t kMaxPemBytes = size_t{1} << 20;

struct Pems {
  std::string cert, key, client_ca;
};

int GivePassword(char* buffer, int size, int, void* password) {
  const auto& text = *static_cast<const std::string*>(password);
  if (text.size() > static_cast<size_t>(size)) return -1;
  std::copy(text.begin(), text.end(), buffer);
  return static_cast<int>(text.size());
}

// gRPC takes no password: an encrypted key is given to it in plain.
Result<std::string> PlainKey(const std::string& pem, const server::TlsOptions& options) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                                     BIO_free);
  std::string password = options.key_password;
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      PEM_read_bio_PrivateKey(in.get(), nullptr, GivePassword, &password), EVP_PKEY_free);
  if (key == nullptr) return Io("cannot use the key {}", options.key_file);
  const std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new(BIO_s_mem()), BIO_free);
  if (PEM_write_bio_PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return Io("cannot use the key {}", options.key_file);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return std::string(text, static_cast<size_t>(size));
}

Result<Pems> ReadPems(const server::TlsOptions& options) {
  // The same checks, with the same words, as HTTP's.
  const auto checked = server::LoadTls(options);
  if (!checked) return Error(checked.error());
  Pems pems;
  INGOT_ASSIGN_OR_RETURN(pems.cert, ReadTextFile(options.cert_file, kMaxPemBytes));
  INGOT_ASSIGN_OR_RETURN(const std::string key, ReadTextFile(options.key_file, kMaxPemBytes));
  INGOT_ASSIGN_OR_RETURN(pems.key, PlainKey(key, options));
  if (!options.client_ca_file.empty()) {
    INGOT_ASSIGN_OR_RETURN(pems.client_ca, ReadTextFile(options.client_ca_file, kMaxPemBytes));
  }
  return pems;
}

class PlainCredentials : public Credentials {
 public:
  Status Reload() override { return {}; }
  std::shared_ptr<::grpc::ServerCredentials> ForServer() override { return ::grpc::InsecureServerCredentials(); }
};

// gRPC asks for the certificate at every handshake.
class TlsCredentials : public Credentials, public std::enable_shared_from_this<TlsCredentials> {
 public:
  explicit TlsCredentials(server::TlsOptions options) : options_(std::move(options)) {}
  Status Reload() override {
    INGOT_ASSIGN_OR_RETURN(Pems pems, ReadPems(options_));
    const std::lock_guard lock(mutex_);
    pems_ = std::move(pems);
    ++version_;
    return {};
  }
  std::shared_ptr<::grpc::ServerCredentials> ForServer() override;

 private:
  class OfServer;
  static grpc_ssl_certificate_config_reload_status Fetch(void* self, grpc_ssl_server_certificate_config** config) {
    return static_cast<TlsCredentials*>(self)->Fetch(config);
  }
  grpc_ssl_certificate_config_reload_status Fetch(grpc_ssl_server_certificate_config** config) {
    const std::lock_guard lock(mutex_);
    if (given_ == version_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair = {pems_.key.c_str(), pems_.cert.c_str()};
    // Authorities must be given, also where no client is asked for its certificate: then any will do.
    const std::string& authorities = pems_.client_ca.empty() ? pems_.cert : pems_.client_ca;
    *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
    given_ = version_;
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const server::TlsOptions options_;
  std::mutex mutex_;  // guards what follows
  Pems pems_;
  int version_ = 0, given_ = 0;
};

// The C++ library has no call for certificates that change; its C library has.
class TlsCredentials::OfServer : public ::grpc::ServerCredentials {
 public:
  explicit OfServer(std::shared_ptr<TlsCredentials> owner) : owner_(std::move(owner)) {}
  void SetAuthMetadataProcessor(const std::shared_ptr<::grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    const auto ask = owner_->options_.client_ca_file.empty()
                         ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                         : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    grpc_server_credentials* credentials = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(ask, &TlsCredentials::Fetch, owner_.get()));
    const int port = grpc_server_add_http2_port(server, address.c_str(), credentials);
    grpc_server_credentials_release(credentials);
    return port;
  }
  const std::shared_ptr<TlsCredentials> owner_;
};

std::shared_ptr<::grpc::ServerCredentials> TlsCredentials::ForServer() {
  return std::make_shared<OfServer>(shared_from_this());
}

}  // namespace

Result<std::shared_ptr<Credentials>> MakeCredentials(const server::TlsOptions& options) {
  if (!options.enabled()) return std::make_shared<PlainCredentials>();
  const auto credentials = std::make_shared<TlsCredentials>(options);
  INGOT_RETURN_IF_ERROR(credentials->Reload());
  return credentials;
}

}  // namespace ingot::rpc
