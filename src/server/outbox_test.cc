#include "server/outbox.h"

#include <gtest/gtest.h>

namespace ingot::server {
namespace {

Outbox::Item Chunk(size_t size) { return {Outbox::Item::Kind::kChunk, {}, std::string(size, 'x')}; }

TEST(OutboxTest, IsOverOnlyWhenMoreThanItsBoundWaitedAlready) {
  const auto outbox = Outbox::Make(std::make_shared<asio::io_context>(1), 10);
  EXPECT_TRUE(outbox->Push({Outbox::Item::Kind::kHead, {}, {}}));
  EXPECT_TRUE(outbox->Push(Chunk(8)));
  EXPECT_TRUE(outbox->Push(Chunk(100)));
  EXPECT_FALSE(outbox->slow());
  EXPECT_FALSE(outbox->Push(Chunk(1)));  // though OnClose has not been called yet
  EXPECT_TRUE(outbox->slow());
  bool closed = false;
  outbox->OnClose([&] { closed = true; });
  EXPECT_TRUE(closed);
}

TEST(OutboxTest, ItsBoundIsExact) {
  const auto outbox = Outbox::Make(std::make_shared<asio::io_context>(1), 10);
  for (const size_t size : {8, 2, 1}) EXPECT_TRUE(outbox->Push(Chunk(size)));  // 8 and 10 waited
  EXPECT_FALSE(outbox->Push(Chunk(1)));
}

TEST(OutboxTest, AnEndFollowsWhateverWaits) {
  const auto outbox = Outbox::Make(std::make_shared<asio::io_context>(1), 10);
  EXPECT_TRUE(outbox->Push(Chunk(100)));
  EXPECT_TRUE(outbox->Push({Outbox::Item::Kind::kEnd, {}, {}}));
  EXPECT_FALSE(outbox->slow());
}

}  // namespace
}  // namespace ingot::server
