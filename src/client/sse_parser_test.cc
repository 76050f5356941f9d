#include "client/sse_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace ingot::client {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Events(std::string_view text, size_t piece) {
  std::vector<std::string> events;
  SseParser parser([&](const SseEvent& event) { events.push_back(event.type + "|" + event.data); });
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size())))
    EXPECT_TRUE(parser.Feed(text.substr(0, piece)).ok());
  return events;
}

TEST(SseParser, ReadsEventsHoweverTheyAreCut) {
  const std::string_view text =
      "\xef\xbb\xbf"
      "data: {\"a\": 1}\n\n"
      ": ping\n\n"
      "event: error\r\ndata:two\r\ndata: lines\r\n\r\n"
      "id: 7\rretry: 5\rdata\r\r"
      "unknown: x\ndata:  [DONE]\n\n"
      "event: nothing\n\n"
      "data: broken off\n";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    EXPECT_THAT(Events(text, piece),
                ElementsAre("message|{\"a\": 1}", "error|two\nlines", "message|", "message| [DONE]"))
        << piece;
  }
}

TEST(SseParser, KeepsCharactersThatLookLikeOthers) {
  EXPECT_THAT(Events("data: a\xe2\x80\xa8z\n\n", 1), ElementsAre("message|a\xe2\x80\xa8z"));  // no line of SSE ends so
  EXPECT_THAT(Events("data\xef\xbb\xbf: x\n\n", 3), IsEmpty());
}

TEST(SseParser, BoundsAnEvent) {
  int events = 0;
  SseParser parser([&](const SseEvent&) { ++events; }, 100);
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(parser.Feed("data: " + std::string(90, 'x') + "\n\n").ok());
  EXPECT_EQ(events, 50);
  EXPECT_TRUE(parser.Feed("data: " + std::string(60, 'x') + "\n").ok());
  EXPECT_EQ(parser.Feed("data: " + std::string(60, 'x')).code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace ingot::client
