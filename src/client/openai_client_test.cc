#include "client/openai_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/test_server.h"

namespace ingot::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Stream(const std::string& events) {
  return fmt::format(
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
      events.size(), events);
}
std::string Whole(int status, const std::string& body, const std::string& headers = "") {
  return fmt::format("HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{}", status,
                     body.size(), headers, body);
}

struct Received {
  std::string text, reasoning, finish;
  AnswerEnd end;
  int num_ends = 0;
};

// What comes of one answer of these bytes.
Received Ask(const std::string& bytes, bool close = false) {
  TestServer server([&](int, const std::string&) { return ScriptedAnswer{bytes, close}; });
  const auto client = Connect({.base_url = server.url() + "/v1", .timeout_seconds = 5}).value();
  Received received;
  StartAnswer(*client, "/v1/chat/completions", "{}",
              {.on_piece =
                   [&](const AnswerPiece& piece) {
                     received.text += piece.text;
                     received.reasoning += piece.reasoning;
                     received.finish += piece.finish_reason;
                   },
               .on_end =
                   [&](const AnswerEnd& end) {
                     received.end = end;
                     ++received.num_ends;
                   }});
  client->Run();
  EXPECT_EQ(received.num_ends, 1);
  return received;
}

TEST(OpenAiClient, ReadsAStreamOfChat) {
  const Received received = Ask(Stream(
      "data: "
      "{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n"
      ": ping\n\n"
      "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"Hm.\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\"Par\"}}],\"usage\":null}\n\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\"is\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
      "data: "
      "{\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_"
      "tokens\":3}}}\n\n"
      "data: [DONE]\n\n"));
  EXPECT_TRUE(received.end.status.ok()) << received.end.status.message();
  EXPECT_EQ(received.text, "Paris");
  EXPECT_EQ(received.reasoning, "Hm.");
  EXPECT_EQ(received.finish, "stop");
  ASSERT_TRUE(received.end.usage);
  EXPECT_EQ(received.end.usage->prompt_tokens, 7);
  EXPECT_EQ(received.end.usage->completion_tokens, 2);
  EXPECT_EQ(received.end.usage->cached_tokens, 3);
}

TEST(OpenAiClient, ReadsCompletionsAndServersThatDoNotStream) {
  EXPECT_EQ(
      Ask(Stream(
              "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"b\"}]}\n\ndata: [DONE]\n\n"))
          .text,
      "ab");
  const Received whole = Ask(Whole(
      200,
      R"({"choices":[{"message":{"content":"all","reasoning":"why"},"finish_reason":"length"}],"usage":{"completion_tokens":1}})"));
  EXPECT_TRUE(whole.end.status.ok());
  EXPECT_EQ(whole.text + "/" + whole.reasoning + "/" + whole.finish, "all/why/length");
}

TEST(OpenAiClient, TellsWhatAServerRefuses) {
  const Received full =
      Ask(Whole(429, R"({"error":{"message":"the queue is full","type":"x"}})", "Retry-After: 3\r\n"));
  EXPECT_EQ(full.end.status, Status(Code::kResourceExhausted, "HTTP 429: the queue is full"));
  EXPECT_EQ(full.end.http_status, 429);
  EXPECT_EQ(full.end.retry_after_seconds, 3);
  EXPECT_EQ(Ask(Whole(400, R"({"message":"flat","object":"error"})")).end.status.message(), "HTTP 400: flat");
  EXPECT_EQ(Ask(Whole(422, R"({"detail":"no such field"})")).end.status.message(), "HTTP 422: no such field");
  EXPECT_EQ(Ask(Whole(404, R"({"error":"model not found"})")).end.status,
            Status(Code::kNotFound, "HTTP 404: model not found"));
  EXPECT_EQ(Ask(Whole(502, "<html>\nbad gateway")).end.status, Status(Code::kInternal, "HTTP 502: <html>"));
  EXPECT_EQ(Ask(Whole(500, "")).end.status.message(), "HTTP 500");
}

TEST(OpenAiClient, TakesNoBrokenStreamForAWholeAnswer) {
  const std::string piece = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
  const Received undone = Ask(Stream(piece));
  EXPECT_EQ(undone.text, "a");
  EXPECT_EQ(undone.end.status.code(), Code::kIo);
  EXPECT_EQ(Ask(Stream(piece + "data: {\"choices\":[\n\n")).end.status.code(), Code::kInvalidArgument);
  const Received failed = Ask(Stream(piece + "data: {\"error\":{\"message\":\"out of memory\"}}\n\n"));
  EXPECT_EQ(failed.end.status, Status(Code::kInternal, "out of memory"));
  const Received cut =
      Ask("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:", true);
  EXPECT_EQ(cut.end.status.code(), Code::kIo);
  EXPECT_EQ(cut.end.http_status, 200);
}

TEST(OpenAiClient, ListsModels) {
  std::string seen;
  TestServer server([&](int request, const std::string& text) {
    seen = text;
    return ScriptedAnswer{request == 0 ? Whole(200, R"({"object":"list","data":[{"id":"a/b"},{"id":"c"}]})")
                                       : Whole(401, R"({"error":{"message":"no key"}})")};
  });
  const auto client = Connect({.base_url = server.url(), .api_key = "secret"}).value();
  EXPECT_THAT(ListModels(*client).value(), ElementsAre("a/b", "c"));
  EXPECT_THAT(seen, HasSubstr("GET /v1/models HTTP/1.1"));
  EXPECT_THAT(seen, HasSubstr("Authorization: Bearer secret"));
  EXPECT_EQ(ListModels(*client).error().message(), "HTTP 401: no key");
}

}  // namespace
}  // namespace ingot::client
