#include "server/tls.h"

#include <openssl/ssl.h>

#include <cstring>
#include <string_view>

namespace ingot::server {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

namespace {

// HTTP/1.1 is what is spoken; a client that offers it among others hears so.
int ChooseProtocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                   unsigned int offered_size, void*) {
  constexpr std::string_view kHttp = "http/1.1";
  for (unsigned int i = 0; i < offered_size; i += offered[i] + 1U) {
    if (offered[i] != kHttp.size() || std::memcmp(offered + i + 1, kHttp.data(), kHttp.size()) != 0) continue;
    *out = offered + i + 1;
    *out_size = offered[i];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

}  // namespace

Result<std::shared_ptr<ssl::context>> LoadTls(const TlsOptions& options) {
  if (options.key_file.empty()) return InvalidArgument("--ssl-certfile asks for its key: --ssl-keyfile");
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 |
                       ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 | ssl::context::single_dh_use);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_alpn_select_cb(native, ChooseProtocol, nullptr);
  error_code error;
  // Without a password an encrypted key is an error, not a question on the terminal.
  context->set_password_callback(
      [password = options.key_password](size_t, ssl::context::password_purpose) { return password; }, error);
  if (!error) context->use_certificate_chain_file(options.cert_file, error);
  if (error) return Io("cannot use the certificate {}: {}", options.cert_file, error.message());
  context->use_private_key_file(options.key_file, ssl::context::pem, error);
  if (error) {
    return Io("cannot use the key {} with the certificate {}: {}", options.key_file, options.cert_file,
              error.message());
  }
  if (options.client_ca_file.empty()) return context;
  context->load_verify_file(options.client_ca_file, error);
  if (!error) context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert, error);
  if (error) return Io("cannot use the authorities of {}: {}", options.client_ca_file, error.message());
  return context;
}

}  // namespace ingot::server
