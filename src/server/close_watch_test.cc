#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/write.hpp>
#include <thread>

#include "server/outbox.h"

namespace ingot::server {
namespace {

using tcp = asio::ip::tcp;

class CloseWatchTest : public ::testing::Test {
 protected:
  CloseWatchTest() {
    tcp::acceptor acceptor(*io_, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    client_.connect(acceptor.local_endpoint());
    server_ = acceptor.accept();
    asio::co_spawn(*io_, WatchForClose(server_, outbox_),
                   asio::bind_cancellation_slot(stop_.slot(), [this](const std::exception_ptr&) { ended_ = true; }));
    io_->poll();
    EXPECT_FALSE(ended_);
  }
  const std::shared_ptr<asio::io_context> io_ = std::make_shared<asio::io_context>(1);
  const std::shared_ptr<Outbox> outbox_ = Outbox::Make(io_, 10);
  tcp::socket client_{*io_}, server_{*io_};
  asio::cancellation_signal stop_;
  bool ended_ = false;
};

TEST_F(CloseWatchTest, EndsWhenItIsCancelled) {
  stop_.emit(asio::cancellation_type::all);
  io_->poll();
  EXPECT_TRUE(ended_);
}

// Between the end of its pause and what follows it.
TEST_F(CloseWatchTest, EndsWhenItIsCancelledAsItGoesOn) {
  asio::write(client_, asio::buffer("x", 1));
  server_.wait(tcp::socket::wait_read);
  io_->poll();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // longer than the pause
  // The poll looks at the timers first and finds that the pause is over; then comes what was posted, then who paused.
  asio::post(*io_, [this] { stop_.emit(asio::cancellation_type::all); });
  io_->poll();
  EXPECT_TRUE(ended_);
}

TEST_F(CloseWatchTest, ClosesTheOutboxWhenTheClientLeaves) {
  bool closed = false;
  outbox_->OnClose([&] { closed = true; });
  client_.close();
  io_->run_for(std::chrono::seconds(20));
  EXPECT_TRUE(ended_);
  EXPECT_TRUE(closed);
}

}  // namespace
}  // namespace ingot::server
