#include "server/openai/chat_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ingot::server {
namespace {

using ::testing::HasSubstr;

std::string WithMessages(const std::string& fields) {
  return R"({"messages":[{"role":"user","content":"hi"}])" + (fields.empty() ? "" : "," + fields) + "}";
}

TEST(ChatRequestTest, TakesEveryField) {
  const auto chat = ParseChatRequest(
      WithMessages(R"("model":"m","temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"repetition_penalty":1.1,
      "presence_penalty":-1,"frequency_penalty":2,"seed":-3,"max_tokens":5,"max_completion_tokens":6,"n":2,"stop":["a","bc"],"stop_token_ids":[7],
      "logprobs":true,"top_logprobs":3,"ignore_eos":true,"min_tokens":1,"stream":true,"stream_options":{"include_usage":true},"user":"u","unknown":{}
      ,"chat_template_kwargs":{"enable_thinking":false}, "tools":[], "logit_bias":{}, "response_format":{"type":"text"}, "tool_choice":null)"),
      {});
  ASSERT_TRUE(chat) << chat.error().status.message();
  const llm::Request& request = chat->request;
  EXPECT_EQ(chat->model, "m");
  EXPECT_EQ(request.sampling.temperature, 0.5);
  EXPECT_EQ(request.sampling.top_k, 40);
  EXPECT_EQ(request.sampling.seed, static_cast<uint64_t>(-3));
  EXPECT_EQ(request.max_tokens, 6);
  EXPECT_EQ(request.n, 2);
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "bc"}));
  EXPECT_EQ(request.stop_token_ids, std::vector<int32_t>{7});
  EXPECT_EQ(request.logprobs, 3);
  EXPECT_TRUE(chat->stream && chat->include_usage && request.ignore_eos);
  EXPECT_FALSE(request.template_kwargs.at("enable_thinking").as_bool());
}

TEST(ChatRequestTest, KeepsDefaultsForWhatIsAbsentOrNull) {
  llm::SamplingParams defaults;
  defaults.temperature = 0.6;
  const auto chat =
      ParseChatRequest(WithMessages(R"("temperature":null,"max_tokens":null,"stop":null,"stream":null)"), defaults);
  ASSERT_TRUE(chat) << chat.error().status.message();
  EXPECT_EQ(chat->request.sampling.temperature, 0.6);
  EXPECT_FALSE(chat->request.max_tokens);
  EXPECT_FALSE(chat->stream);
}

TEST(ChatRequestTest, TakesContentPartsAndDeveloperRole) {
  const auto chat = ParseChatRequest(
      R"({"messages":[{"role":"developer","content":[{"type":"text","text":"x"}]},{"role":"user","content":""}]})", {});
  ASSERT_TRUE(chat) << chat.error().status.message();
  EXPECT_EQ(chat->request.messages[0].at("role"), "system");
}

struct Bad {
  const char* body;
  const char* param;
  const char* message;
};
class BadChatRequestTest : public ::testing::TestWithParam<Bad> {};
TEST_P(BadChatRequestTest, NamesTheField) {
  const auto chat = ParseChatRequest(GetParam().body, {});
  ASSERT_FALSE(chat);
  EXPECT_EQ(chat.error().param, GetParam().param);
  EXPECT_THAT(chat.error().status.message(), HasSubstr(GetParam().message));
}
#define MESSAGES R"("messages":[{"role":"user","content":"hi"}],)"
INSTANTIATE_TEST_SUITE_P(
    All, BadChatRequestTest,
    ::testing::Values(Bad{"{", "", "body"}, Bad{"[]", "", "object"}, Bad{"{}", "messages", "messages"},
                      Bad{R"({"messages":[]})", "messages", "1…"},
                      Bad{R"({"messages":[{"role":"king","content":"x"}]})", "messages", "king"},
                      Bad{R"({"messages":[{"role":"user"}]})", "messages", "content"},
                      Bad{R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})", "messages",
                          "image_url"},
                      Bad{"{" MESSAGES R"("temperature":3})", "temperature", "0…2"},
                      Bad{"{" MESSAGES R"("temperature":"1"})", "temperature", "temperature"},
                      Bad{"{" MESSAGES R"("top_p":-0.1})", "top_p", "0…1"}, Bad{"{" MESSAGES R"("n":0})", "n", "1…128"},
                      Bad{"{" MESSAGES R"("max_tokens":0})", "max_tokens", "1…"},
                      Bad{"{" MESSAGES R"("max_tokens":1.5})", "max_tokens", "max_tokens"},
                      Bad{"{" MESSAGES R"("stop":[""]})", "stop", "1…256"},
                      Bad{"{" MESSAGES R"("stop":5})", "stop", "string"},
                      Bad{"{" MESSAGES R"("top_logprobs":2})", "top_logprobs", "logprobs"},
                      Bad{"{" MESSAGES R"("logprobs":true,"top_logprobs":21})", "top_logprobs", "0…20"},
                      Bad{"{" MESSAGES R"("tools":[{"type":"function"}]})", "tools", "not supported"},
                      Bad{"{" MESSAGES R"("tool_choice":"required"})", "tool_choice", "tools"},
                      Bad{"{" MESSAGES R"("response_format":{"type":"json_object"}})", "response_format", "text"},
                      Bad{"{" MESSAGES R"("logit_bias":{"5":1}})", "logit_bias", "not supported"},
                      Bad{"{" MESSAGES R"("stream_options":{"include_usage":true}})", "stream_options", "stream"},
                      Bad{"{" MESSAGES R"("stream":"yes"})", "stream", "stream"}));

}  // namespace
}  // namespace ingot::server
