#include "client/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/test_server.h"

namespace ingot::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::unique_ptr<HttpClient> ClientFor(const std::string& url, double silence_seconds = 10) {
  return HttpClient::Make({.url = ParseUrl(url).value(),
                           .headers = {{"Authorization", "Bearer k"}},
                           .silence_timeout_seconds = silence_seconds})
      .value();
}

std::string Plain(const std::string& body, const std::string& more = "") {
  return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{}\r\n{}", body.size(), more, body);
}

TEST(HttpClient, SendsAndReads) {
  std::string seen;
  TestServer server([&](int, const std::string& request) {
    seen = request;
    return ScriptedAnswer{Plain("hello", "X-Thing: it\r\n")};
  });
  const auto client = ClientFor(server.url() + "/base");
  const auto response =
      Fetch(*client, {.method = "POST", .path = "/x", .content_type = "application/json", .body = "{}"});
  ASSERT_TRUE(response) << response.error().message();
  EXPECT_EQ(response->body, "hello");
  EXPECT_EQ(response->head.status, 200);
  EXPECT_EQ(response->head.Header("x-thing"), "it");
  EXPECT_THAT(seen, StartsWith("POST /base/x HTTP/1.1\r\n"));
  EXPECT_THAT(seen, HasSubstr("Authorization: Bearer k\r\n"));
  EXPECT_THAT(seen, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(seen, HasSubstr("\r\n\r\n{}"));
}

TEST(HttpClient, KeepsConnectionsAndReplacesThoseThatWereClosed) {
  TestServer server([](int request, const std::string&) {
    // The third request finds its connection closed as it is sent.
    return ScriptedAnswer{request == 2 ? "" : Plain(std::to_string(request)), request == 2};
  });
  const auto client = ClientFor(server.url());
  EXPECT_EQ(Fetch(*client, {.path = "/"})->body, "0");
  EXPECT_EQ(Fetch(*client, {.path = "/"})->body, "1");
  EXPECT_EQ(server.num_connections(), 1);
  EXPECT_EQ(Fetch(*client, {.path = "/"})->body, "3");
  EXPECT_EQ(server.num_connections(), 2);
}

TEST(HttpClient, ReadsChunksAsTheyCome) {
  TestServer server([](int, const std::string&) {
    return ScriptedAnswer{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"};
  });
  const auto client = ClientFor(server.url());
  EXPECT_EQ(Fetch(*client, {.path = "/"})->body, "abcde");
  EXPECT_EQ(Fetch(*client, {.path = "/"})->body, "abcde");
  EXPECT_EQ(server.num_connections(), 1);
}

TEST(HttpClient, TellsOfAnswersThatBreakOff) {
  const std::string broken[] = {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                                "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "HTTP/1.1 200", "",
                                "nonsense\r\n\r\n"};
  TestServer server([&](int request, const std::string&) { return ScriptedAnswer{broken[request], true}; });
  const auto client = ClientFor(server.url());
  for (const std::string& bytes : broken) {
    const auto response = Fetch(*client, {.path = "/"});
    ASSERT_FALSE(response) << bytes;
    EXPECT_EQ(response.error().code(), Code::kIo) << bytes;
    EXPECT_THAT(response.error().message(), HasSubstr(server.url())) << bytes;
  }
}

TEST(HttpClient, ReadsABodyThatEndsWithItsConnection) {
  TestServer server([](int, const std::string&) { return ScriptedAnswer{"HTTP/1.1 200 OK\r\n\r\nabc", true}; });
  const auto client = ClientFor(server.url());
  EXPECT_EQ(Fetch(*client, {.path = "/"})->body, "abc");
}

TEST(HttpClient, GivesUpOnSilence) {
  TestServer server([](int, const std::string&) { return ScriptedAnswer{"HTTP/1.1 200 OK\r\n\r\nabc"}; });
  const auto client = ClientFor(server.url(), 0.1);
  const auto response = Fetch(*client, {.path = "/"});
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), Code::kDeadlineExceeded);
}

TEST(HttpClient, SaysThatNoServerListens) {
  std::string url;
  {
    url = TestServer([](int, const std::string&) { return ScriptedAnswer{}; }).url();
  }
  const auto refused = Fetch(*ClientFor(url), {.path = "/"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kIo);
  EXPECT_THAT(refused.error().message(), HasSubstr("refused"));
}

TEST(HttpClient, CancelClosesTheConnection) {
  TestServer server([](int, const std::string&) {
    return ScriptedAnswer{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"};
  });
  const auto client = ClientFor(server.url());
  std::vector<Code> ends;
  std::shared_ptr<HttpCall> call;
  call = client->Send({.path = "/"}, {.on_head = {},
                                      .on_data = [&](std::string_view) { call->Cancel(); },
                                      .on_end = [&](const Status& status) { ends.push_back(status.code()); }});
  client->Run();
  call->Cancel();
  client->Run();
  EXPECT_THAT(ends, ElementsAre(Code::kCancelled));
  for (int i = 0; i < 200 && !server.client_left(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(server.client_left());
}

TEST(HttpClient, CallsTimersInTheirOrder) {
  const auto client = ClientFor("http://127.0.0.1:1");
  std::vector<int> called;
  client->After(0.02, [&] { called.push_back(2); });
  client->After(0, [&] {
    called.push_back(1);
    client->After(0.04, [&] { called.push_back(3); });
  });
  client->Run();
  EXPECT_THAT(called, ElementsAre(1, 2, 3));
}

TEST(HttpClient, NamesAFileThatHoldsNoCertificates) {
  const auto client = HttpClient::Make({.url = ParseUrl("https://localhost").value(), .ca_file = "/dev/null"});
  ASSERT_FALSE(client);
  EXPECT_THAT(client.error().message(), HasSubstr("/dev/null"));
}

}  // namespace
}  // namespace ingot::client
