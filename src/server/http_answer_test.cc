#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/test_llm.h"
#include "server/server_context.h"

namespace ingot::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Records the calls.
class FakeExchange : public Exchange {
 public:
  const HttpRequest& request() const override { return request_; }
  HttpRequest& mutable_request() override { return request_; }
  void Respond(HttpResponse response) override { Tell("respond", response); }
  void StartStream(HttpResponse head) override { Tell("start", head); }
  bool Send(std::string chunk) override { return calls.push_back("send " + chunk), true; }
  void Finish() override { calls.emplace_back("finish"); }
  void FailStream(HttpResponse instead, std::string last) override {
    Tell("fail", instead);
    calls.push_back("last " + last);
  }
  void Abort() override { calls.emplace_back("abort"); }
  void Note(LogFields) override {}
  void OnClose(std::function<void()>) override {}
  void OnStop(std::function<void()> stop) override { on_stop = std::move(stop); }
  bool closed() override { return false; }

  std::vector<std::string> calls;
  std::function<void()> on_stop;

 private:
  void Tell(const char* what, const HttpResponse& response) {
    calls.push_back(fmt::format("{} {}", what, response.status));
    if (response.body.find("\"code\"") != std::string::npos) calls.back() += " " + response.body;
  }
  HttpRequest request_;
};

class TextFormat : public answers::Format {
 public:
  std::string Piece(const answers::Choice& choice, const llm::Event& event) override {
    return fmt::format("{}:{}", choice.index, event.text);
  }
  std::string End(const llm::Usage&) override { return "end"; }
  std::string Failure(const WireError& error) override { return error.code; }
  std::string Whole(const std::vector<answers::Choice>&, const llm::Usage&) override { return "whole"; }
};

class DoneHandle : public llm::Handle {
 public:
  void Cancel() override {}
  void Fail(Status) override {}
  void Wait() override {}
  int64_t prompt_tokens() const override { return 1; }
};

class HttpAnswerTest : public ::testing::Test {
 protected:
  using EventsOf = std::function<void(const llm::EventFn&)>;  // what comes while the request is being submitted
  void Ask(bool stream, size_t prompts, EventsOf events) {
    answers::Prepared prepared{.format = std::make_unique<TextFormat>(), .stream = stream};
    prepared.question.requests.resize(prompts);
    prepared.question.submit = [this, events = std::move(events)](
                                   const llm::Request&,
                                   const llm::EventFn& on_event) -> Result<std::shared_ptr<llm::Handle>> {
      on_event_ = on_event;
      events(on_event);
      return std::make_shared<DoneHandle>();
    };
    Answer(context_, model_, exchange_, std::move(prepared));
  }
  llm::EventFn on_event_;  // an engine holds it while the request runs
  const llm::FakeLlm fake_ = llm::MakeFakeLlm();
  const std::shared_ptr<Metrics> metrics_ = Metrics::Make({.model_name = "m"});
  const ServedModel model_{*fake_.llm, "m", 0, {}};
  const ServedModels models_;
  TaskPool text_pool_{0};
  const ServerContext context_{models_, *metrics_, text_pool_, {}};
  const std::shared_ptr<FakeExchange> exchange_ = std::make_shared<FakeExchange>();
};

// The thread that tells events must not wait for the rest of the prompts: here it is the one that submits them.
TEST_F(HttpAnswerTest, EventsThatComeWhilePromptsAreSubmittedAreKept) {
  int prompt = 0;
  Ask(true, 2, [&](const llm::EventFn& on_event) {
    on_event({.text = std::string(1, static_cast<char>('a' + prompt++))});
    on_event({.finish = llm::FinishReason::kStop});
    EXPECT_TRUE(exchange_->calls.empty());
  });
  EXPECT_THAT(exchange_->calls,
              ElementsAre("start 200", "send 0:a", "send 0:", "send 1:b", "send 1:", "send end", "finish"));
}

TEST_F(HttpAnswerTest, AFailedStreamEndsInOneOfTwoWays) {
  Ask(true, 1, [](const llm::EventFn& on_event) {
    on_event({.finish = llm::FinishReason::kError, .error = DeadlineExceeded("late").value()});
  });
  ASSERT_EQ(exchange_->calls.size(), 3u);
  EXPECT_THAT(exchange_->calls[1], HasSubstr("fail 504"));
  EXPECT_EQ(exchange_->calls[2], "last deadline_exceeded");
  exchange_->on_stop();
  EXPECT_EQ(exchange_->calls.size(), 3u);
}

TEST_F(HttpAnswerTest, WhatRunsWhenTheServerStopsIsToldSo) {
  Ask(false, 1, [](const llm::EventFn& on_event) { on_event({.text = "a"}); });
  EXPECT_TRUE(exchange_->calls.empty());
  exchange_->on_stop();
  exchange_->on_stop();
  ASSERT_EQ(exchange_->calls.size(), 1u);
  EXPECT_THAT(exchange_->calls[0], HasSubstr("respond 503"));
}

TEST_F(HttpAnswerTest, MoreLogprobsThanMemoryIsMeantToHoldAreRefused) {
  llm::Event event;
  event.logprobs.assign(1000, {.chosen = {0, "a", -1}, .top = std::vector<llm::TokenLogprob>(20, {0, "a", -1})});
  int events = 0;
  Ask(false, 1, [&](const llm::EventFn& on_event) {
    for (; events < 100; ++events) on_event(event);
  });
  ASSERT_EQ(exchange_->calls.size(), 1u);
  EXPECT_THAT(exchange_->calls[0], HasSubstr("respond 400"));
  EXPECT_THAT(exchange_->calls[0], HasSubstr("logprobs"));
}

TEST_F(HttpAnswerTest, MoreAnswersThanMayEverWaitAreRefusedForGood) {
  Ask(false, static_cast<size_t>(fake_.llm->options().max_queue) + 1, [](const llm::EventFn&) { ADD_FAILURE(); });
  ASSERT_EQ(exchange_->calls.size(), 1u);
  EXPECT_THAT(exchange_->calls[0], HasSubstr("respond 400"));
}

}  // namespace
}  // namespace ingot::server
