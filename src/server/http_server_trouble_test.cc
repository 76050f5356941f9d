// Clients that are slow, and code that throws.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <stdexcept>

#include "server/http_server_fixture.h"
#include "server/test_client.h"

namespace ingot::server {
namespace {

using ::testing::EndsWith;
using ::testing::StartsWith;

TEST_F(HttpServerTest, EndsAStreamThatItsClientDoesNotRead) {
  TestClient client(server_->port());
  client.Send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = TakeHeld();
  exchange->StartStream({.content_type = "text/event-stream"});
  const std::string piece(16 << 10, 'x');
  bool open = true;
  for (int i = 0; open && i < 4096; ++i) open = exchange->Send(piece);
  EXPECT_FALSE(open);
  EXPECT_TRUE(closed_.WaitFor(5000));
  client.Close();
  EXPECT_TRUE(slow_.WaitFor(5000));
}

TEST_F(HttpServerTest, StreamsPiecesThatAreLargerThanItsBuffer) {
  TestClient client(server_->port());
  client.Send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = TakeHeld();
  exchange->StartStream({.content_type = "text/event-stream"});
  const std::string piece(3 * options_.max_buffered_bytes, 'x');
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(exchange->Send(piece));
    EXPECT_THAT(client.ReadUntil(piece), EndsWith(piece));
  }
  exchange->Finish();
  EXPECT_THAT(client.ReadUntil("0\r\n\r\n"), EndsWith("\r\n0\r\n\r\n"));
  EXPECT_FALSE(slow_.WaitFor(0));
}

// However long it takes in all.
TEST_F(HttpServerTest, WaitsForClientsThatReadSteadily) {
  options_.write_timeout_seconds = 2;
  const std::string large(size_t{24} << 20, 'x');
  router_.Add("GET", "/large", [&](auto exchange) { exchange->Respond({.body = large}); });
  router_.Add("GET", "/large_stream", [&](auto exchange) {
    exchange->StartStream({.content_type = "text/plain"});
    exchange->Send(large);
    exchange->Finish();
  });
  Start();
  const auto read_slowly = [&](const std::string& request) {
    TestClient client(server_->port());
    client.Send(request);
    return client.ReadAllSlowly(std::chrono::milliseconds(12));
  };
  std::vector<std::future<std::string>> answers;
  for (const char* request :
       {"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET /large_stream HTTP/1.0\r\n\r\n",
        "GET /large_stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"}) {
    answers.push_back(std::async(std::launch::async, read_slowly, request));
  }
  for (auto& answer : answers) EXPECT_GT(answer.get().size(), large.size());
}

TEST_F(HttpServerTest, AnswersForAHandlerThatThrows) {
  TestClient client(server_->port());
  client.Send("GET /throws HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.ReadResponse(), StartsWith("HTTP/1.1 500"));
  client.Send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.ReadResponse(), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, WhatIsThrownLeavesNothingToWaitFor) {
  options_.on_answered = [](const AnsweredRequest&) { throw std::runtime_error("no good"); };
  Start();
  EXPECT_THAT(Ask("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(Until([&] { return server_->open_connections() == 0; }));
  auto stopped = std::async(std::launch::async, [&] { server_->Stop(60); });
  EXPECT_EQ(stopped.wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

}  // namespace
}  // namespace ingot::server
