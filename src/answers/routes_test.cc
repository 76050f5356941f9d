#include "answers/routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <set>

#include "base/json.h"
#include "llm/test_llm.h"

namespace ingot::answers {
namespace {

using ::testing::HasSubstr;

// Waits for a whole answer.
class Whole : public Listener {
 public:
  explicit Whole(std::unique_ptr<Format> format) : format_(std::move(format)) {}
  bool wants_whole() const override { return true; }
  void Piece(const Choice&, const llm::Event&) override {}
  void Ended(const std::vector<Choice>& choices, const llm::Usage& usage) override {
    answer.set_value(format_->Whole(choices, usage));
  }
  void Failed(const Status& status) override { answer.set_value(status.ToString()); }

  std::promise<std::string> answer;

 private:
  const std::unique_ptr<Format> format_;
};

class RoutesTest : public ::testing::Test {
 protected:
  std::string Ask(const std::string& path, const std::string& text) {
    const auto route = std::ranges::find(kRoutes, path, &Route::path);
    const auto body = ParseBody(text, schemas_.*route->request);
    if (!body) return body.error().status.ToString();
    auto prepared = route->read(Fields(*body), model_, {.request_id = "id"});
    if (!prepared) return prepared.error().ToString();
    const auto whole = std::make_shared<Whole>(std::move(prepared->format));
    std::make_shared<Answer>(whole)->Begin(*fake_.llm, std::move(prepared->question));
    return whole->answer.get_future().get();
  }
  const llm::FakeLlm fake_ = llm::MakeFakeLlm();
  const ModelLimits limits_{"m", fake_.llm->session_len(), llm::ByteTokenizer::kVocab, 0};
  const ApiSchemas schemas_{limits_};
  const ServedModel model_{*fake_.llm, "m", 0, limits_};
};

TEST_F(RoutesTest, EachHasItsAnswer) {
  const std::string completion = Ask("/v1/completions", R"({"prompt":"abc","max_tokens":3,"ignore_eos":true})");
  EXPECT_THAT(completion, HasSubstr(R"("id":"cmpl-id")"));
  EXPECT_THAT(completion, HasSubstr(R"("completion_tokens":3)"));
  EXPECT_THAT(Ask("/v1/chat/completions", R"({"messages":"a","max_tokens":2})"),
              HasSubstr(R"("object":"chat.completion")"));
  EXPECT_THAT(Ask("/generate", R"({"input_ids":[97],"n_predict":2,"ignore_eos":true})"),
              HasSubstr(R"("completion_tokens":2)"));
}

TEST_F(RoutesTest, NoTokensAndEchoGiveThePromptAndItsLogprobs) {
  const auto json =
      ParseJson(Ask("/v1/completions", R"({"prompt":"abc","max_tokens":0,"echo":true,"logprobs":1})"), "answer");
  ASSERT_TRUE(json.has_value());
  const auto& choice = json->at("choices").at(0);
  EXPECT_EQ(choice.at("text"), "abc");
  EXPECT_EQ(choice.at("finish_reason"), "length");
  EXPECT_EQ(choice.at("logprobs").at("tokens").as_array().size(), 4u);  // and a BOS
  EXPECT_EQ(json->at("usage").at("completion_tokens"), 0);
  EXPECT_THAT(Ask("/v1/completions", R"({"prompt":"abc","max_tokens":0})"), HasSubstr("echo"));
}

// Tokens are bytes here, special tokens are not in a text, and BOS comes before a prompt.
TEST_F(RoutesTest, OffsetsOfTokensCountCharacters) {
  const std::string answer =
      Ask("/v1/completions", R"({"prompt":"aéb","max_tokens":2,"ignore_eos":true,"echo":true,"logprobs":3})");
  const auto json = ParseJson(answer, "answer");
  const auto logprobs = json->at("choices").at(0).at("logprobs").as_object();
  const auto& offsets = logprobs.at("text_offset").as_array();
  const auto& tokens = logprobs.at("tokens").as_array();
  const std::vector<std::string> want = {"a", "bytes:\\xc3", "bytes:\\xa9", "b"};
  const std::vector<int64_t> at = {0, 1, 2, 2};
  const size_t first = tokens.size() - 2 - want.size();  // a BOS
  for (size_t i = 0; i < first; ++i) EXPECT_EQ(offsets[i].as_int64(), 0);
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(tokens[first + i].as_string(), want[i]);
    EXPECT_EQ(offsets[first + i].as_int64(), at[i]);
  }
  EXPECT_EQ(offsets[first + want.size()].as_int64(), 3);
  for (size_t i = 1; i < tokens.size(); ++i) EXPECT_GE(logprobs.at("top_logprobs").at(i).as_object().size(), 3u);
}

TEST_F(RoutesTest, ASeedOfMinusOneIsRandom) {
  std::set<std::string> answers;
  for (int i = 0; i < 8; ++i)
    answers.insert(Ask("/generate", R"({"prompt":"abc","max_tokens":20,"temperature":2,"seed":-1,"ignore_eos":true})"));
  EXPECT_GT(answers.size(), 1u);
}

}  // namespace
}  // namespace ingot::answers
