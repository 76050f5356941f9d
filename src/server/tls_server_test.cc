// Connections that cannot be set up.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <atomic>
#include <cstdio>

#include "base/test_folder.h"
#include "server/http.h"
#include "server/test_client.h"

namespace {
std::atomic<int> num_failing = 0;
}

// In the place of OpenSSL's own: the next `num_failing` calls have no memory.
extern "C" SSL* SSL_new(SSL_CTX* context) {
  if (num_failing > 0 && num_failing-- > 0) {
    ERR_raise(ERR_LIB_SSL, ERR_R_MALLOC_FAILURE);
    return nullptr;
  }
  static const auto real = reinterpret_cast<SSL* (*)(SSL_CTX*)>(dlsym(RTLD_NEXT, "SSL_new"));
  return real(context);
}

namespace ingot::server {
namespace {

// A key and a certificate that it signed itself.
void WriteCertificate(const std::string& cert_file, const std::string& key_file) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_sign(certificate, key, EVP_sha256());
  std::FILE* file = std::fopen(cert_file.c_str(), "w");
  PEM_write_X509(file, certificate);
  std::fclose(file);
  file = std::fopen(key_file.c_str(), "w");
  PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
  X509_free(certificate);
  EVP_PKEY_free(key);
}

TEST(TlsServerTest, GoesOnAcceptingAfterAConnectionThatItHadNoMemoryFor) {
  const TempFolder folder;
  HttpOptions options{.port = 0};
  options.tls.cert_file = folder / "cert.pem";
  options.tls.key_file = folder / "key.pem";
  WriteCertificate(options.tls.cert_file, options.tls.key_file);
  auto server = HttpServer::Listen(options, Router());
  ASSERT_TRUE(server) << server.error().ToString();
  num_failing = 1;
  (*server)->Run();
  bool closed = false;
  TestClient((*server)->port()).ReadAll(20'000, &closed);
  EXPECT_TRUE(closed);
  EXPECT_EQ(num_failing, 0);
  TestClient next((*server)->port());
  next.Send("no TLS at all");
  closed = false;
  next.ReadAll(20'000, &closed);
  EXPECT_TRUE(closed);  // by the server itself
}

}  // namespace
}  // namespace ingot::server
