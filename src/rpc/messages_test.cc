#include "rpc/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ingot/v1/generation.pb.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <set>

#include "answers/api_schemas.h"
#include "llm/test_llm.h"
#include "rpc/message_writers.h"

namespace ingot::rpc {
namespace {

using ::testing::HasSubstr;

TEST(MessagesTest, SetFieldsBecomeTheBodyOfRest) {
  v1::ChatRequest request;
  auto& message = *request.add_messages();
  message.set_role("user");
  message.set_content("hi");
  request.set_seed(9007199254740993);
  request.set_temperature(0);
  request.add_stop("\n");
  (*request.mutable_logit_bias())["5"] = -1.5;
  (*request.mutable_chat_template_kwargs()->mutable_fields())["x"].set_bool_value(true);
  const auto json = ToJson(request);
  ASSERT_TRUE(json);
  EXPECT_EQ(*json, (boost::json::object{{"messages", {{{"role", "user"}, {"content", "hi"}}}},
                                        {"temperature", 0.0},
                                        {"seed", 9007199254740993},
                                        {"stop", boost::json::array{"\n"}},
                                        {"logit_bias", {{"5", -1.5}}},
                                        {"chat_template_kwargs", {{"x", true}}}}));
}

// Messages contain what REST's JSON contains.
class WritersTest : public ::testing::Test {
 protected:
  static llm::TokenInfo Token(int32_t id, std::string bytes, float logprob) {
    return {{id, bytes, logprob}, {{id, bytes, logprob}, {id + 1, "\xE6", -3.7F}}};
  }
  // The messages that the JSON lines of a stream become, merged in order.
  template <typename M>
  static M MergedJson(std::string_view stream) {
    M merged;
    while (!stream.empty()) {
      std::string_view line = stream.substr(0, stream.find('\n'));
      stream.remove_prefix(std::min(stream.size(), line.size() + 1));
      if (line.starts_with("data: ")) line.remove_prefix(6);
      M one;
      if (!line.starts_with('{')) continue;
      EXPECT_TRUE(FromJson(line, &one).ok()) << line;
      merged.MergeFrom(one);
    }
    return merged;
  }
  template <typename M>
  static M Parsed(const std::string& bytes) {
    M message;
    EXPECT_TRUE(message.ParseFromString(bytes));
    return message;
  }
  static std::string Text(const google::protobuf::Message& message) { return message.DebugString(); }

  const answers::OpenAiHead head_{"id-1", "m", "ingot-1", true, 77};
  const llm::Usage usage_{5, 2, 1};
  llm::Event Last() const {
    return {.index = 0,
            .text = " é",
            .token_ids = {7, 8},
            .logprobs = {Token(7, " ", -0.1F), Token(8, "\xC3", -2e-8F)},
            .prompt_logprobs = {Token(1, "a", 0), Token(2, "b", -1.5F)},
            .finish = llm::FinishReason::kLength};
  }
  answers::Choice Whole() const {
    const llm::Event event = Last();
    return {.index = 0,
            .choice = {.text = event.text,
                       .token_ids = event.token_ids,
                       .logprobs = event.logprobs,
                       .prompt_logprobs = event.prompt_logprobs,
                       .finish = *event.finish},
            .is_first = false};
  }
};

TEST_F(WritersTest, Completions) {
  const llm::ByteTokenizer tokenizer;
  const answers::CompletionOptions options{
      .token_ids = true, .echo = true, .logprobs = true, .prompt_logprobs = true, .prompts = {"ab"}};
  const auto json = answers::JsonWriters().Completion(head_, tokenizer, options);
  const auto messages = MessageWriters().Completion(head_, tokenizer, options);
  const answers::Choice first{.index = 0, .choice = {}};
  EXPECT_EQ(Text(Parsed<v1::CompleteResponse>(messages->Piece(first, Last()))),
            Text(MergedJson<v1::CompleteResponse>(json->Piece(first, Last()))));
  EXPECT_EQ(Text(Parsed<v1::CompleteResponse>(messages->Whole({Whole()}, usage_))),
            Text(MergedJson<v1::CompleteResponse>(json->Whole({Whole()}, usage_))));
  EXPECT_EQ(Text(Parsed<v1::CompleteResponse>(messages->End(usage_))),
            Text(MergedJson<v1::CompleteResponse>(json->End(usage_))));
}

TEST_F(WritersTest, Chat) {
  const auto json = answers::JsonWriters().Chat(head_, true);
  const auto messages = MessageWriters().Chat(head_, true);
  const answers::Choice later{.index = 0, .choice = {}, .is_first = false};
  llm::Event event = Last();
  event.finish.reset();
  EXPECT_EQ(Text(Parsed<v1::ChatChunk>(messages->Piece(later, event))),
            Text(MergedJson<v1::ChatChunk>(json->Piece(later, event))));
  EXPECT_EQ(Text(Parsed<v1::ChatResponse>(messages->Whole({Whole()}, usage_))),
            Text(MergedJson<v1::ChatResponse>(json->Whole({Whole()}, usage_))));
  // Role, text and finish reason, three chunks in REST, are one message here.
  const auto whole = Parsed<v1::ChatChunk>(messages->Piece({.index = 0, .choice = {}}, Last()));
  ASSERT_EQ(whole.choices_size(), 1);
  EXPECT_EQ(whole.choices(0).delta().role(), "assistant");
  EXPECT_EQ(whole.choices(0).delta().content(), " é");
  EXPECT_EQ(whole.choices(0).finish_reason(), "length");
  EXPECT_EQ(messages->Piece(later, {}), "");
}

TEST_F(WritersTest, Turns) {
  const auto counts = std::make_shared<answers::TurnCounts>(answers::TurnCounts{3, 0, 5, 11});
  const auto other = std::make_shared<answers::TurnCounts>(*counts);
  const answers::Choice first{.index = 0, .choice = {}};
  EXPECT_EQ(Text(Parsed<v1::TurnResponse>(MessageWriters().Turn(counts)->Piece(first, Last()))),
            Text(MergedJson<v1::TurnResponse>(answers::JsonWriters().Turn(other)->Piece(first, Last()))));
  EXPECT_EQ(counts->tokens, 2);
  EXPECT_EQ(Text(Parsed<v1::TurnResponse>(MessageWriters().EmptyTurn(4, true))),
            Text(MergedJson<v1::TurnResponse>(answers::JsonWriters().EmptyTurn(4, true))));
}

TEST(MessagesTest, AnswersOfRestBecomeMessages) {
  v1::ChatChunk chunk;
  ASSERT_TRUE(FromJson(R"({"id":"a","created":5,"choices":[{"index":1,"delta":{"content":"x"},"logprobs":{"content":[)"
                       R"({"token":"x","logprob":-0.25,"bytes":[120],"top_logprobs":[]}]},"finish_reason":null}],)"
                       R"("usage":null,"unknown":1})",
                       &chunk)
                  .ok());
  EXPECT_EQ(chunk.choices(0).delta().content(), "x");
  EXPECT_EQ(chunk.choices(0).logprobs().content(0).logprob(), -0.25);
  EXPECT_EQ(chunk.choices(0).logprobs().content(0).bytes(0), 120u);
  EXPECT_EQ(chunk.choices(0).finish_reason(), "");
}

// Whatever REST takes, and does not refuse or ignore, has a field here.
TEST(MessagesTest, RequestsHaveTheFieldsOfRest) {
  const answers::ApiSchemas schemas({"m", 100, 100, 0});
  // Other names of fields, what a method says (stream), what is taken and ignored, and llama-server's way to tokenize.
  const std::set<std::string> other = {"max_completion_tokens",
                                       "min_new_tokens",
                                       "repeat_penalty",
                                       "n_predict",
                                       "stream",
                                       "do_preprocess",
                                       "request_output_len",
                                       "content",
                                       "spaces_between_special_tokens",
                                       "add_special",
                                       "parse_special",
                                       "with_pieces"};
  const auto check = [&](const answers::Schema& schema, const google::protobuf::Descriptor& message) {
    const auto refused = answers::RefuseOthers({});
    const auto ignored = answers::IgnoredProperties();
    const auto is_in = [](const auto& list, const std::string& name) {
      return std::ranges::find(list, name, &answers::Property::name) != list.end();
    };
    for (const answers::Property& property : schema.properties) {
      const auto& p = property.schema;
      const auto same = std::ranges::find(refused, property.name, &answers::Property::name);
      const bool is_refused =
          same != refused.end() && same->schema.unsupported == p.unsupported && same->schema.type == p.type;
      if (is_refused || is_in(ignored, property.name) || other.contains(property.name)) continue;
      EXPECT_NE(message.FindFieldByName(property.name), nullptr) << message.name() << "." << property.name;
    }
  };
  check(schemas.chat_request, *v1::ChatRequest::descriptor());
  check(schemas.completion_request, *v1::CompleteRequest::descriptor());
  check(schemas.interactive_request, *v1::TurnRequest::descriptor());
  check(schemas.tokenize_request, *v1::TokenizeRequest::descriptor());
}

TEST(MessagesTest, TensorsComeTypedOrRaw) {
  inference::ModelInferRequest message;
  auto& input = *message.add_inputs();
  input.set_name("top_k");
  input.set_datatype("INT32");
  input.add_shape(2);
  input.mutable_contents()->add_int_contents(7);
  input.mutable_contents()->add_int_contents(-7);
  (*message.mutable_parameters())["sequence_id"].set_int64_param(3);
  auto request = ToInferRequest(message);
  ASSERT_TRUE(request) << request.error().message();
  EXPECT_EQ(*Values(request->inputs[0]), (boost::json::array{7, -7}));
  EXPECT_EQ(request->parameters, (boost::json::object{{"sequence_id", 3}}));
  const std::string raw = request->inputs[0].data;
  message.add_raw_input_contents(raw);
  EXPECT_THAT(ToInferRequest(message).error().message(), HasSubstr("has contents beside raw_input_contents"));
  input.clear_contents();
  EXPECT_EQ(ToInferRequest(message)->inputs[0].data, raw);
  message.add_raw_input_contents(raw);
  EXPECT_THAT(ToInferRequest(message).error().message(), HasSubstr("2 entries for 1 inputs"));
  message.clear_raw_input_contents();
  input.mutable_contents()->add_fp32_contents(1);
  EXPECT_THAT(ToInferRequest(message).error().message(), HasSubstr("takes 8 bytes, 0 are given"));
  input.set_datatype("INT4");
  EXPECT_THAT(ToInferRequest(message).error().message(), HasSubstr("datatype 'INT4' is not known"));
}

TEST(MessagesTest, BytesThatAreNoMessageAreRefused) {
  inference::ModelInferRequest message;
  EXPECT_THAT(Parse("\xFF\xFF", &message).message(), HasSubstr("no inference.ModelInferRequest"));
}

}  // namespace
}  // namespace ingot::rpc
