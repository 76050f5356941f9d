#include "client/url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ingot::client {
namespace {

TEST(ParseUrl, TakesApartWhatServersAreCalled) {
  const auto check = [](std::string_view text, const Url& expected) {
    const auto url = ParseUrl(text);
    ASSERT_TRUE(url) << url.error().message();
    EXPECT_EQ(url->tls, expected.tls) << text;
    EXPECT_EQ(url->host, expected.host) << text;
    EXPECT_EQ(url->port, expected.port) << text;
    EXPECT_EQ(url->path, expected.path) << text;
  };
  check("http://localhost", {false, "localhost", 80, ""});
  check("https://api.example.org/v1/", {true, "api.example.org", 443, "/v1"});
  check("http://127.0.0.1:23333/", {false, "127.0.0.1", 23333, ""});
  check("http://[::1]:8080/a/b", {false, "::1", 8080, "/a/b"});
  check("https://[::1]", {true, "::1", 443, ""});
}

TEST(ParseUrl, SaysWhatIsWrong) {
  for (const char* text :
       {"localhost:80", "ftp://a", "http://", "http://:80", "http://a:0", "http://a:99999", "http://a:8x",
        "http://[::1", "http://::1", "http://[::1]80", "http://a b", "http://user:key@a", "http://a?b"}) {
    const auto url = ParseUrl(text);
    ASSERT_FALSE(url) << text;
    EXPECT_EQ(url.error().code(), Code::kInvalidArgument);
    EXPECT_THAT(url.error().message(), ::testing::HasSubstr(text));
  }
}

TEST(Url, IsWrittenAsItWasRead) {
  for (const char* text : {"http://a", "http://a:8080", "https://[::1]/v1", "http://[::1]:443"})
    EXPECT_EQ(ParseUrl(text)->Text(), text);
}

}  // namespace
}  // namespace ingot::client
