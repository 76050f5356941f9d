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

// llama-server's and ollama's routes draw the same tokens as OpenAI's.
TEST_F(RoutesTest, EveryApiGivesTheSameAnswer) {
  const std::string drawn = R"("temperature":1.5,"top_k":40,"seed":7,"ignore_eos":true)";
  const auto text = [&](const std::string& answer, const char* pointer) {
    const auto json = ParseJson(answer, "answer");
    return std::string(json->at_pointer(pointer).as_string());
  };
  const std::string chat = text(
      Ask("/v1/chat/completions", R"({"messages":[{"role":"user","content":"abc"}],"max_tokens":20,)" + drawn + "}"),
      "/choices/0/message/content");
  EXPECT_GT(chat.size(), 10u);
  const std::string options = R"("options":{"num_predict":20,)" + drawn + "}}";
  EXPECT_EQ(text(Ask("/api/chat", R"({"messages":[{"role":"user","content":"abc"}],)" + options), "/message/content"),
            chat);
  EXPECT_EQ(text(Ask("/api/generate", R"({"prompt":"abc",)" + options), "/response"), chat);
  EXPECT_EQ(
      text(Ask("/completion", R"({"prompt":"<s><|user|>abc<|assistant|>","n_predict":20,)" + drawn + "}"), "/content"),
      text(Ask("/v1/completions", R"({"prompt":"<s><|user|>abc<|assistant|>","max_tokens":20,)" + drawn + "}"),
           "/choices/0/text"));
}

TEST_F(RoutesTest, LlamaServersAnswerHasItsCountsAndItsEnd) {
  const auto ask = [&](const std::string& body) { return *ParseJson(Ask("/completion", body), "answer"); };
  const auto limit = ask(R"({"prompt":"abc","n_predict":3,"ignore_eos":true,"return_tokens":true,"n_probs":2})");
  EXPECT_EQ(limit.at("stop_type"), "limit");
  EXPECT_EQ(limit.at("tokens").as_array().size(), 3u);
  EXPECT_EQ(limit.at("tokens_predicted"), 3);
  EXPECT_EQ(limit.at("tokens_evaluated"), 4);  // and a BOS
  EXPECT_EQ(limit.at("timings").at("predicted_n"), 3);
  EXPECT_EQ(limit.at("generation_settings").at("n_predict"), 3);
  EXPECT_EQ(limit.at("completion_probabilities").as_array().size(), 3u);
  EXPECT_EQ(limit.at("completion_probabilities").at(0).at("top_logprobs").as_array().size(), 2u);
  const auto none = ask(R"({"prompt":"abc","n_predict":0})");
  EXPECT_EQ(none.at("content"), "");
  EXPECT_EQ(none.at("tokens_predicted"), 0);
  const auto stopped = ask(R"({"prompt":"abc","n_predict":9,"logit_bias":{"65":100},"stop":["AA"]})");
  EXPECT_EQ(stopped.at("stop_type"), "word");
  EXPECT_EQ(stopped.at("stopping_word"), "AA");
}

// A number among a list's items makes it one prompt.
TEST_F(RoutesTest, LlamaServersPromptMayBeMixed) {
  const auto ask = [&](const std::string& prompt) {
    return *ParseJson(Ask("/completion", R"({"n_predict":2,"ignore_eos":true,"prompt":)" + prompt + "}"), "answer");
  };
  EXPECT_EQ(ask("[97,98]").at("tokens_evaluated"), 2);
  EXPECT_EQ(ask(R"([97,"bc",100])").at("tokens_evaluated"), 4);
  EXPECT_EQ(ask(R"(["ab",99])").at("tokens_evaluated"), 4);  // and a BOS
  const auto both = ask(R"(["ab",[97,98,99]])");
  ASSERT_TRUE(both.is_array());
  EXPECT_EQ(both.at(0).at("tokens_evaluated"), 3);
  EXPECT_EQ(both.at(1).at("tokens_evaluated"), 3);
  EXPECT_EQ(both.at(1).at("index"), 1);
  EXPECT_THAT(Ask("/completion", R"({"prompt":[97,[98]]})"), HasSubstr("prompt has token ids, so it is one prompt"));
}

TEST_F(RoutesTest, LlamaServersBiasesAreListsToo) {
  const auto first = [&](const std::string& bias) {
    const auto json = ParseJson(Ask("/completion", R"({"prompt":"abc","n_predict":1,"ignore_eos":true,"temperature":0,)"
                                                   R"("return_tokens":true,"logit_bias":)" +
                                                       bias + "}"),
                                "answer");
    return json->at("tokens").at(0).as_int64();
  };
  const int64_t id = first("[]");
  EXPECT_NE(first(fmt::format("[[{},false]]", id)), id);
  EXPECT_EQ(first("[[65,100]]"), 65);
  EXPECT_EQ(first(R"({"65":100})"), 65);
  EXPECT_THAT(Ask("/completion", R"({"prompt":"a","logit_bias":[[65]]})"), HasSubstr("logit_bias"));
}

TEST_F(RoutesTest, AWindowOfPenaltiesIsRefusedWhereThereIsOne) {
  EXPECT_THAT(Ask("/completion", R"({"prompt":"a","n_predict":1,"repeat_last_n":64,"repeat_penalty":1.0})"),
              HasSubstr("tokens_predicted"));
  EXPECT_THAT(Ask("/completion", R"({"prompt":"a","n_predict":1,"repeat_last_n":64,"repeat_penalty":1.1})"),
              HasSubstr("repeat_last_n 64"));
  EXPECT_THAT(Ask("/api/generate", R"({"prompt":"a","options":{"repeat_last_n":64,"presence_penalty":1}})"),
              HasSubstr("repeat_last_n 64"));
}

TEST_F(RoutesTest, OllamaRefusesByNameWhatItCannotDo) {
  const std::string chat = R"({"messages":[{"role":"user","content":"a"}],)";
  for (const char* field : {"format", "images", "template", "suffix"}) {
    EXPECT_THAT(Ask("/api/generate", fmt::format(R"({{"prompt":"a","{}":"json"}})", field)), HasSubstr(field));
    EXPECT_THAT(Ask("/api/generate",
                    fmt::format(R"({{"prompt":"a","{}":"","options":{{"num_predict":1,"num_ctx":4096}}}})", field)),
                HasSubstr(R"("done":true)"));
  }
  EXPECT_THAT(Ask("/api/chat", chat + R"("format":{"type":"object"}})"), HasSubstr("format: structured output"));
  EXPECT_THAT(Ask("/api/chat", chat + R"("tools":[{}]})"), HasSubstr("tools are not supported"));
  EXPECT_THAT(Ask("/api/chat", R"({"messages":[{"role":"user","content":"a","images":["x"]}]})"),
              HasSubstr("messages[0].images"));
  EXPECT_THAT(Ask("/api/chat", chat + R"("options":{"mirostat":1}})"), HasSubstr("options.mirostat"));
  EXPECT_THAT(Ask("/api/chat", chat + R"("options":{"temperature":9}})"), HasSubstr("options.temperature is 9"));
  EXPECT_THAT(Ask("/api/generate", R"({"prompt":"a","raw":true,"system":"s"})"), HasSubstr("system: raw"));
}

TEST_F(RoutesTest, OllamaLoadsWithoutAQuestion) {
  const auto load = [&](const char* path, const char* text) {
    const auto route = std::ranges::find(kRoutes, std::string_view(path), &Route::path);
    const auto body = ParseBody(text, schemas_.*route->request);
    const auto prepared = route->read(Fields(*body), model_, {});
    return prepared ? prepared->at_once : prepared.error().message();
  };
  EXPECT_THAT(load("/api/generate", R"({"model":"m:latest"})"), HasSubstr(R"("model":"m:latest")"));
  EXPECT_THAT(load("/api/chat", R"({"messages":[]})"), HasSubstr(R"("done_reason":"load")"));
  EXPECT_THAT(load("/api/generate", R"({"keep_alive":0})"), HasSubstr("keep_alive 0"));
}

TEST_F(RoutesTest, ModelsAreDescribedForOthers) {
  ServedModels models;
  models.Add({*fake_.llm, "m", 1'700'000'000, limits_, "root", "", "/models/m"});
  EXPECT_EQ(models.Find("m:latest"), models.Find(""));
  EXPECT_EQ(models.Find("/models/m"), models.Find(""));
  EXPECT_EQ(models.Find("m2:latest"), nullptr);
  EXPECT_THAT(OllamaTags(models), HasSubstr(R"("modified_at":"2023-11-14T22:13:20.000000Z")"));
  EXPECT_THAT(OllamaProcesses(models), HasSubstr(R"("context_length":512)"));
  EXPECT_THAT(OllamaModel(*models.Find("")), HasSubstr(R"("capabilities":["completion"])"));
  EXPECT_THAT(LlamaProps(*models.Find(""), "1.2"), HasSubstr(R"("build_info":"ingot 1.2")"));
  const auto slots = *ParseJson(LlamaSlots(*models.Find("")), "slots");
  EXPECT_EQ(slots.as_array().size(), 4u);
  EXPECT_EQ(slots.at(0).at("is_processing"), false);
}

// What may answer otherwise has another name.
TEST_F(RoutesTest, TheFingerprintTellsVersionsAndCachesApart) {
  const std::string one = SystemFingerprint(*fake_.llm, "1.0");
  EXPECT_EQ(one, SystemFingerprint(*fake_.llm, "1.0"));
  EXPECT_NE(one, SystemFingerprint(*fake_.llm, "1.1"));
  const llm::FakeLlm int8 = llm::MakeFakeLlm(true, {.quant_policy = 8});
  EXPECT_NE(one, SystemFingerprint(*int8.llm, "1.0"));
}

}  // namespace
}  // namespace ingot::answers
