#include "bench/load_generator.h"

#include <gtest/gtest.h>

#include "client/test_server.h"

namespace ingot::bench {
namespace {

using client::ScriptedAnswer;

std::string Stream(const std::string& events) {
  return fmt::format("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{}",
                     events.size(), events);
}
const std::string kPiece = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
const std::string kRole = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const std::string kUsage =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5,"
    "\"prompt_tokens_details\":{\"cached_tokens\":2}}}\n\n";
const std::string kDone = "data: [DONE]\n\n";

LoadResult RunLoad(client::TestServer::Script script, size_t count, LoadOptions options = {}) {
  client::TestServer server(std::move(script));
  const auto http = client::Connect({.base_url = server.url(), .timeout_seconds = 5}).value();
  return GenerateLoad(*http, std::vector<LoadRequest>(count, {"/v1/completions", "{}"}), options);
}

TEST(LoadGenerator, RecordsWhatCame) {
  int progress = 0;
  const LoadResult result = RunLoad(
      [](int request, const std::string&) {
        const std::string events = kRole + kPiece + kPiece + (request == 1 ? "" : kUsage) + kDone;
        return ScriptedAnswer{Stream(events), false};
      },
      3, {.max_concurrency = 1, .on_progress = [&](int64_t done) { EXPECT_EQ(done, ++progress); }});
  EXPECT_EQ(progress, 3);
  ASSERT_EQ(result.records.size(), 3u);
  for (const RequestRecord& record : result.records) {
    EXPECT_TRUE(record.ok()) << record.message;
    ASSERT_EQ(record.pieces.size(), 2u);  // an event without text is no piece
    EXPECT_LE(record.sent, record.pieces[0]);
    EXPECT_LE(record.pieces[0], record.pieces[1]);
    EXPECT_LE(record.pieces[1], record.end);
  }
  EXPECT_LE(result.records[0].end, result.records[1].sent);
  EXPECT_EQ(result.duration, result.records[2].end);
  EXPECT_TRUE(result.records[0].has_usage);
  EXPECT_EQ(result.records[0].prompt_tokens, 7);
  EXPECT_EQ(result.records[0].cached_tokens, 2);
  EXPECT_EQ(result.records[0].output_tokens, 5);
  EXPECT_FALSE(result.records[1].has_usage);
  EXPECT_EQ(result.records[1].output_tokens, 2);
}

TEST(LoadGenerator, FailuresHaveKinds) {
  const LoadResult result = RunLoad(
      [](int request, const std::string&) {
        switch (request) {
          case 0:
            return ScriptedAnswer{"HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n", false};
          case 1:
            return ScriptedAnswer{"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + kPiece, true};
          case 2:
            return ScriptedAnswer{Stream("data: {\"error\":{\"message\":\"no\"}}\n\n"), false};
          default:
            return ScriptedAnswer{Stream(kPiece + kDone), false};
        }
      },
      4, {.max_concurrency = 1});
  ASSERT_EQ(result.records.size(), 4u);
  EXPECT_EQ(result.records[0].failure, "429");
  EXPECT_EQ(result.records[1].failure, "connection");
  EXPECT_EQ(result.records[1].pieces.size(), 1u);
  EXPECT_EQ(result.records[2].failure, "error");
  EXPECT_NE(result.records[2].message.find("no"), std::string::npos);
  EXPECT_TRUE(result.records[3].ok());
}

TEST(LoadGenerator, NoServer) {
  std::string url;
  {
    client::TestServer server([](int, const std::string&) { return ScriptedAnswer{}; });
    url = server.url();
  }
  const auto http = client::Connect({.base_url = url}).value();
  const LoadResult result =
      GenerateLoad(*http, std::vector<LoadRequest>(20, {"/v1/completions", "{}"}), {.max_concurrency = 2});
  for (const RequestRecord& record : result.records) EXPECT_EQ(record.failure, "connection");
}

TEST(LoadGenerator, KeepsToArrivals) {
  const LoadResult result =
      RunLoad([](int, const std::string&) { return ScriptedAnswer{Stream(kPiece + kDone), true}; }, 8,
              {.request_rate = 50, .seed = 3});
  const auto arrivals = PoissonArrivals(8, 50, 3);
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_TRUE(result.records[i].ok()) << result.records[i].message;
    EXPECT_GE(result.records[i].sent, arrivals[i]);
  }
}

TEST(LoadGenerator, AnInterruptCancelsTheRest) {
  std::atomic<bool> interrupted = false;
  const LoadResult result = RunLoad(
      [&](int request, const std::string&) {
        if (request == 1) interrupted = true;
        return ScriptedAnswer{request == 1 ? "" : Stream(kPiece + kDone), false};
      },
      1000, {.request_rate = 20, .max_concurrency = 1, .interrupted = [&] { return interrupted.load(); }});
  EXPECT_TRUE(result.records[0].ok());
  for (size_t i = 1; i < 1000; ++i) EXPECT_EQ(result.records[i].failure, "cancelled");
}

}  // namespace
}  // namespace ingot::bench
