#include "answers/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/test_llm.h"

namespace ingot::answers {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Records the calls.
class Recorder : public Listener {
 public:
  bool wants_whole() const override { return true; }
  void Began() override { all.emplace_back("began"); }
  void Piece(const Choice& choice, const llm::Event& event) override {
    all.push_back(fmt::format("{}:{}{}", choice.index, event.text, choice.is_first ? " first" : ""));
    if (on_piece) on_piece();
  }
  void Ended(const std::vector<Choice>& choices, const llm::Usage& usage) override {
    all.push_back(fmt::format("ended {} {}+{}", choices[0].choice.text, usage.prompt_tokens, usage.completion_tokens));
  }
  void Failed(const Status& status) override { all.push_back(fmt::format("failed {}", status.message())); }

  std::vector<std::string> all;
  std::function<void()> on_piece;
};

class CountingHandle : public llm::Handle {
 public:
  explicit CountingHandle(int* cancelled) : cancelled_(cancelled) {}
  void Cancel() override { ++*cancelled_; }
  void Fail(Status) override {}
  void Wait() override {}
  int64_t prompt_tokens() const override { return 1; }

 private:
  int* cancelled_;
};

class AnswerTest : public ::testing::Test {
 protected:
  // `on_submit` is called with each prompt's number.
  void Begin(size_t prompts, const std::function<void(size_t)>& on_submit = {}) {
    Question question{.requests = std::vector<llm::Request>(prompts)};
    question.submit = [&](const llm::Request&, const llm::EventFn& on_event) -> Result<std::shared_ptr<llm::Handle>> {
      on_events_.push_back(on_event);
      if (on_submit) on_submit(on_events_.size() - 1);
      if (on_events_.size() - 1 == refused_) return Error(InvalidArgument("bad").value());
      return std::make_shared<CountingHandle>(&cancelled_);
    };
    answer_->Begin(*fake_.llm, std::move(question));
  }
  std::vector<llm::EventFn> on_events_;
  size_t refused_ = SIZE_MAX;
  int cancelled_ = 0;
  const llm::FakeLlm fake_ = llm::MakeFakeLlm();
  const std::shared_ptr<Recorder> recorder_ = std::make_shared<Recorder>();
  const std::shared_ptr<Answer> answer_ = std::make_shared<Answer>(recorder_);
};

TEST_F(AnswerTest, PromptsAreCountedOnceAndPiecesComeInOrder) {
  Begin(2, [&](size_t prompt) { on_events_[prompt]({.text = "early"}); });
  on_events_[1]({.text = "b"});
  on_events_[1]({.finish = llm::FinishReason::kStop, .usage = {.prompt_tokens = 3, .completion_tokens = 2}});
  on_events_[0](
      {.text = "a", .finish = llm::FinishReason::kStop, .usage = {.prompt_tokens = 5, .completion_tokens = 1}});
  EXPECT_THAT(recorder_->all,
              ElementsAre("began", "0:early first", "1:early first", "1:b", "1:", "0:a", "ended earlya 8+3"));
}

TEST_F(AnswerTest, OnePromptThatIsRefusedRefusesAll) {
  refused_ = 1;
  Begin(3);
  EXPECT_THAT(recorder_->all, ElementsAre("failed bad"));
  EXPECT_EQ(cancelled_, 1);
  on_events_[0]({.text = "late"});
  EXPECT_EQ(recorder_->all.size(), 1u);
}

TEST_F(AnswerTest, ACancelMayComeBeforeAndWhileItIsToldSomething) {
  recorder_->on_piece = [&] { answer_->Cancel(); };
  Begin(2);
  on_events_[0]({.text = "a"});
  EXPECT_EQ(cancelled_, 2);
  const auto recorder = std::make_shared<Recorder>();
  const auto other = std::make_shared<Answer>(recorder);
  other->Cancel();
  other->Begin(*fake_.llm, {.requests = std::vector<llm::Request>(1)});
  EXPECT_THAT(recorder->all, ElementsAre("failed cancelled"));
}

TEST_F(AnswerTest, ItEndsOnce) {
  Begin(1);
  answer_->Fail(Unavailable("stopping").value());
  answer_->Fail(Unavailable("again").value());
  on_events_[0]({.finish = llm::FinishReason::kStop});
  EXPECT_THAT(recorder_->all, ElementsAre("began", "failed stopping"));
}

TEST_F(AnswerTest, MoreAnswersThanMayEverWaitAreRefusedForGood) {
  Begin(static_cast<size_t>(fake_.llm->options().max_queue) + 1, [](size_t) { ADD_FAILURE(); });
  ASSERT_EQ(recorder_->all.size(), 1u);
  EXPECT_THAT(recorder_->all[0], HasSubstr("--max-queue"));
}

}  // namespace
}  // namespace ingot::answers
