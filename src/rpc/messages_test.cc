#include "rpc/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ingot/v1/generation.pb.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <set>

#include "answers/api_schemas.h"

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
