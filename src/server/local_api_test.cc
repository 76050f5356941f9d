#include "server/local_api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "base/json.h"
#include "llm/test_llm.h"

namespace ingot::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class LocalApiTest : public ::testing::Test {
 protected:
  std::future<HttpResponse> Post(const std::string& path, const std::string& body) {
    auto answer = std::make_shared<std::promise<HttpResponse>>();
    api_->Post({path, body, "id"}, [answer](HttpResponse response) { answer->set_value(std::move(response)); });
    return answer->get_future();
  }
  const llm::FakeLlm fake_ = llm::MakeFakeLlm();
  const std::unique_ptr<LocalApi> api_ = LocalApi::Make(*fake_.llm, {.model_name = "m"});
};

TEST_F(LocalApiTest, AnswersAsTheServerDoes) {
  const HttpResponse answer = Post("/v1/completions", R"({"prompt":"abc","max_tokens":3,"ignore_eos":true})").get();
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_THAT(answer.body, HasSubstr(R"("id":"cmpl-id")"));
  EXPECT_THAT(answer.body, HasSubstr(R"("completion_tokens":3)"));
  EXPECT_EQ(Post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}],"max_tokens":2})").get().status,
            200);
}

// Tokens are bytes here, special tokens are not in a text, and BOS comes before a prompt.
TEST_F(LocalApiTest, OffsetsOfTokensCountCharacters) {
  const HttpResponse answer =
      Post("/v1/completions", R"({"prompt":"aéb","max_tokens":2,"ignore_eos":true,"echo":true,"logprobs":3})").get();
  const auto json = ParseJson(answer.body, "answer");
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

TEST_F(LocalApiTest, LogsNoFaultForWhatWasAnswered) {
  ::testing::internal::CaptureStderr();
  {
    const auto api = LocalApi::Make(*fake_.llm, {.model_name = "m"});
    std::promise<HttpResponse> answer;
    api->Post({"/v1/completions", R"({"prompt":"abc","max_tokens":3})", "id"},
              [&](HttpResponse response) { answer.set_value(std::move(response)); });
    EXPECT_EQ(answer.get_future().get().status, 200);
  }  // all that it ran is gone
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), Not(HasSubstr("failed")));
}

TEST_F(LocalApiTest, RefusesAsTheServerDoes) {
  EXPECT_EQ(Post("/v1/nothing", "{}").get().status, 404);
  const HttpResponse unsupported = Post("/v1/embeddings", "{}").get();
  EXPECT_EQ(unsupported.status, 400);
  EXPECT_THAT(unsupported.body, HasSubstr(R"("code":"not_supported")"));
  EXPECT_EQ(Post("/v1/completions", "{").get().status, 400);
  EXPECT_EQ(Post("/v1/completions", R"({"model":"other","prompt":"a"})").get().status, 404);
  const HttpResponse streamed = Post("/v1/completions", R"({"prompt":"a","stream":true})").get();
  EXPECT_EQ(streamed.status, 400);
  EXPECT_THAT(streamed.body, HasSubstr("stream"));
}

TEST_F(LocalApiTest, CancelledRequestsAreAnsweredToo) {
  std::vector<std::future<HttpResponse>> answers;
  for (int i = 0; i < 40; ++i)
    answers.push_back(
        Post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}],"ignore_eos":true,"n":2})"));
  api_->CancelAll();
  int cancelled = 0;
  for (auto& answer : answers) {
    const int status = answer.get().status;
    EXPECT_TRUE(status == 499 || status == 200) << status;  // some may have been done before
    cancelled += status == 499 ? 1 : 0;
  }
  EXPECT_GT(cancelled, 0);
}

}  // namespace
}  // namespace ingot::server
