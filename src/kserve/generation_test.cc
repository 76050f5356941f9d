#include "kserve/generation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "kserve/inputs.h"
#include "llm/params.h"
#include "llm/test_llm.h"

namespace ingot::kserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Whole : public answers::Listener {
 public:
  explicit Whole(std::shared_ptr<Outputs> outputs) : outputs_(std::move(outputs)) {}
  bool wants_whole() const override { return true; }
  void Piece(const answers::Choice&, const llm::Event&) override {}
  void Ended(const std::vector<answers::Choice>& choices, const llm::Usage&) override {
    answer.set_value(outputs_->Whole(choices));
  }
  void Failed(const Status& status) override { answer.set_value(Error(status)); }
  std::promise<Result<InferResponse>> answer;

 private:
  const std::shared_ptr<Outputs> outputs_;
};

Tensor Json(std::string name, DataType type, std::vector<int64_t> shape, const boost::json::array& values) {
  Tensor tensor{std::move(name), type, std::move(shape), {}};
  EXPECT_TRUE(AppendValues(values, &tensor).ok());
  return tensor;
}
Tensor Text(std::vector<int64_t> shape, const boost::json::array& texts) {
  return Json("text_input", DataType::kBytes, std::move(shape), texts);
}

class GenerationTest : public ::testing::Test {
 protected:
  Result<InferResponse> Ask(InferRequest request) {
    auto generation = generator_.FromTensors(request, "owner");
    if (!generation) return Error(generation.error());
    const auto whole = std::make_shared<Whole>(generation->outputs);
    std::make_shared<answers::Answer>(whole)->Begin(*fake_.llm, std::move(generation->question));
    return whole->answer.get_future().get();
  }
  Result<InferResponse> Ask(std::vector<Tensor> inputs) { return Ask(InferRequest{.inputs = std::move(inputs)}); }
  std::string ErrorOf(std::vector<Tensor> inputs) {
    const auto response = Ask(std::move(inputs));
    return response ? "" : response.error().message();
  }
  static boost::json::array Output(const InferResponse& response, std::string_view name) {
    const auto found = std::ranges::find(response.outputs, name, &Tensor::name);
    return found == response.outputs.end() ? boost::json::array{"missing"} : *Values(*found);
  }
  // Three tokens after a prompt, as the model itself says them.
  std::string Expected(const std::string& prompt) {
    llm::Request request{.prompt = prompt, .max_tokens = 3, .ignore_eos = true};
    request.sampling.temperature = 0;
    return fake_.llm->Generate(request)->choices[0].text;
  }

  const llm::FakeLlm fake_ = llm::MakeFakeLlm();
  const std::shared_ptr<llm::Sessions> sessions_ = *llm::Sessions::Open(*fake_.llm, {});
  const answers::ServedModel model_{*fake_.llm, "m", 0, {"m", fake_.llm->session_len(), llm::ByteTokenizer::kVocab, 0}};
  const Generator generator_{model_, sessions_.get()};
  const Tensor three_ = Json("max_tokens", DataType::kInt32, {1}, {3});
  const Tensor greedy_ = Json("temperature", DataType::kFp32, {1}, {0});
  const Tensor endless_ = Json("ignore_eos", DataType::kBool, {1}, {true});
  const Tensor alone_ = Json("exclude_input_in_output", DataType::kBool, {1}, {true});
};

TEST_F(GenerationTest, RowsOfABatchHaveTheirOwnAnswers) {
  const auto response = Ask({Text({2, 1}, {"ab", "xyz"}), three_, greedy_, endless_, alone_,
                             Json("return_log_probs", DataType::kBool, {1}, {true})});
  ASSERT_TRUE(response) << response.error().message();
  EXPECT_EQ(Output(*response, "text_output"), (boost::json::array{Expected("ab"), Expected("xyz")}));
  EXPECT_EQ(Output(*response, "sequence_length"), (boost::json::array{3, 3}));
  EXPECT_EQ(Output(*response, "output_log_probs").size(), 6u);
  EXPECT_THAT(std::ranges::find(response->outputs, "output_ids", &Tensor::name)->shape, ElementsAre(2, 3));
  EXPECT_THAT(std::ranges::find(response->outputs, "text_output", &Tensor::name)->shape, ElementsAre(2, 1));
}

TEST_F(GenerationTest, ThePromptIsBeforeTheAnswerUnlessExcluded) {
  const auto response = Ask({Text({1}, {"ab"}), three_, greedy_, endless_});
  ASSERT_TRUE(response);
  EXPECT_EQ(Output(*response, "text_output"), (boost::json::array{"ab" + Expected("ab")}));
}

TEST_F(GenerationTest, WhatDoesNotFitIsRefusedWithItsTensor) {
  EXPECT_THAT(ErrorOf({three_}), HasSubstr("neither text_input nor input_ids"));
  EXPECT_THAT(ErrorOf({Text({1, 2}, {"a", "b"})}), HasSubstr("input 'text_input': expected BYTES of shape [1]"));
  EXPECT_THAT(ErrorOf({Text({1}, {"a"}), Json("temperature", DataType::kInt32, {1}, {1})}),
              HasSubstr("input 'temperature': expected FP32 of shape [1], given INT32 of shape [1]"));
  EXPECT_THAT(ErrorOf({Text({1}, {"a"}), Json("top_k", DataType::kInt32, {2}, {1, 2})}),
              HasSubstr("input 'top_k': expected INT32 of shape [1] or [1,1], given INT32 of shape [2]"));
  EXPECT_THAT(ErrorOf({Text({1}, {"a"}), Json("top_p", DataType::kFp32, {1}, {2})}), HasSubstr("top_p"));
  EXPECT_THAT(ErrorOf({Text({1}, {"a"}), Json("topp", DataType::kFp32, {1}, {2})}), HasSubstr("no input 'topp'"));
  EXPECT_THAT(ErrorOf({Text({1}, {"a"}), three_, three_}), HasSubstr("'max_tokens' is given twice"));
  EXPECT_THAT(ErrorOf({Text({1}, {"a"}), Json("START", DataType::kInt32, {1}, {1})}), HasSubstr("CORRID names none"));
  const auto bad = Ask({.outputs = {"tokens"}});
  EXPECT_THAT(bad.error().message(), HasSubstr("no output 'tokens'"));
}

TEST_F(GenerationTest, EveryParameterOfBodiesCanBeGiven) {
  const auto sets = [](const llm::Param& param) {
    return
        [&param](const Input& input) { return input.param != nullptr && std::string_view(input.param) == param.name; };
  };
  for (const llm::Param& param : llm::AllParams()) {
    const bool has_input = std::ranges::any_of(AllInputs(), sets(param));
    const bool is_member =
        std::ranges::find(kParamsWithoutInput, std::string_view(param.name)) != std::end(kParamsWithoutInput);
    if ((param.uses & llm::kInBody) != 0) EXPECT_NE(has_input, is_member) << param.name;
  }
  EXPECT_EQ(FindInput("min_p")->kind, Kind::kFloat);
  EXPECT_EQ(FindInput("seed")->type(), DataType::kUint64);
  EXPECT_EQ(FindInput("bad_words")->type(), DataType::kBytes);
  EXPECT_TRUE(FindInput("bad_words")->is_list);
}

TEST_F(GenerationTest, EachNamedInputDoesWhatItSays) {
  const auto finish = [&](const Tensor& more) {
    const auto response = Ask({Text({1}, {"ab"}), three_, greedy_, endless_, alone_, more});
    EXPECT_TRUE(response) << response.error().message();
    return std::string(Output(*response, "finish_reason")[0].get_string());
  };
  const std::string said = Expected("ab");
  EXPECT_EQ(finish(Json("stop_words", DataType::kBytes, {1, 2}, {"", said.substr(0, 1)})), "stop");
  EXPECT_EQ(finish(Json("stop_words", DataType::kBytes, {1}, {""})), "length");
  EXPECT_EQ(finish(Json("end_id", DataType::kInt32, {1}, {int64_t{static_cast<uint8_t>(said[0])}})), "stop");
  const auto longer = Ask({Text({1}, {"ab"}), Json("request_output_len", DataType::kUint32, {1, 1}, {5}), endless_});
  EXPECT_EQ(Output(*longer, "sequence_length"), (boost::json::array{2 + 5 - 2}));
  const auto many = Ask({Text({1}, {"ab"}), three_, endless_, Json("num_return_sequences", DataType::kInt32, {1}, {2}),
                         Json("seed", DataType::kUint64, {1}, {9})});
  EXPECT_EQ(Output(*many, "sequence_index"), (boost::json::array{0, 1}));
}

TEST_F(GenerationTest, ASessionKeepsItsTurns) {
  const auto turn = [&](const char* text, boost::json::object flags) {
    flags["sequence_id"] = uint64_t{5};  // as gRPC and Triton may give it
    return Ask({.parameters = flags, .inputs = {Text({1}, {text}), three_, greedy_}});
  };
  EXPECT_THAT(turn("a", {}).error().message(), HasSubstr("no session 5; the first turn of one has START"));
  ASSERT_TRUE(turn("a", {{"sequence_start", true}}));
  const int64_t one = sessions_->Find({"owner", 5})->tokens;
  ASSERT_TRUE(turn("b", {}));
  EXPECT_GT(sessions_->Find({"owner", 5})->tokens, one);
  ASSERT_TRUE(turn("a", {{"sequence_start", true}}));
  EXPECT_EQ(sessions_->Find({"owner", 5})->tokens, one);
  const auto end = turn("c", {{"sequence_end", true}});
  ASSERT_TRUE(end);
  EXPECT_FALSE(sessions_->Find({"owner", 5}));
  ASSERT_TRUE(turn("a", {{"sequence_start", true}}));
  ASSERT_TRUE(turn("", {{"sequence_end", true}}));
  EXPECT_EQ(sessions_->count(), 0);
}

TEST_F(GenerationTest, WordsComeAsIds) {
  const auto words = [](std::vector<int64_t> shape, const boost::json::array& values) {
    return Json("stop_words_list", DataType::kInt32, std::move(shape), values);
  };
  InferRequest request{.inputs = {Text({1}, {"ab"}), words({1, 2, 4}, {97, 98, 99, 0, 1, 3, -1, -1})}};
  request.inputs.push_back(request.inputs[1]);
  request.inputs[2].name = "bad_words_list";
  const auto generation = generator_.FromTensors(request, "");
  ASSERT_TRUE(generation) << generation.error().message();
  const llm::Request& read = generation->question.requests[0];
  EXPECT_THAT(read.stop_token_ids, ElementsAre(97));
  EXPECT_THAT(read.stop, ElementsAre("bc"));
  EXPECT_THAT(read.bad_words, ElementsAre("bc"));
  EXPECT_THAT(read.logit_bias, ElementsAre(sampling::LogitBias{97, -100}));
  EXPECT_THAT(ErrorOf({Text({1}, {"a"}), words({3, 1}, {1, 1, 1})}), HasSubstr("expected INT32 of shape [2,entries]"));
  EXPECT_THAT(ErrorOf({Text({1}, {"a"}), words({2, 2}, {1, 1, 3, -1})}), HasSubstr("a word ends at 3, outside 1…2"));
  EXPECT_THAT(ErrorOf({Text({1}, {"a"}), words({2, 1}, {1 << 20, 1})}), HasSubstr("stop_words_list"));
}

TEST_F(GenerationTest, ATurnContinuesFromAStep) {
  const auto turn = [&](boost::json::object flags, int64_t step) {
    flags["sequence_id"] = 6;
    return Ask({.parameters = flags,
                .inputs = {Text({1}, {"a"}), three_, greedy_, Json("step", DataType::kInt32, {1}, {step})}});
  };
  ASSERT_TRUE(turn({{"sequence_start", true}}, 0));
  const int64_t one = sessions_->Find({"owner", 6})->tokens;
  ASSERT_TRUE(turn({}, one));
  const int64_t two = sessions_->Find({"owner", 6})->tokens;
  EXPECT_GT(two, one);
  ASSERT_TRUE(turn({}, one));
  EXPECT_EQ(sessions_->Find({"owner", 6})->tokens, two);
  EXPECT_THAT(turn({}, two + 1).error().message(), HasSubstr(fmt::format("outside 0…{}", two)));
  EXPECT_THAT(ErrorOf({Text({1}, {"a"}), Json("step", DataType::kInt32, {1}, {5})}), HasSubstr("CORRID names none"));
}

TEST_F(GenerationTest, TheGenerateExtensionHasInputsAsMembers) {
  const auto generation = generator_.FromBody(
      R"({"text_input":"ab","id":"7","parameters":{"max_tokens":3,"stop_words":[""],"temperature":0.5},"stream":false})",
      "");
  ASSERT_TRUE(generation) << generation.error().message();
  const llm::Request& request = generation->question.requests[0];
  EXPECT_EQ(request.max_tokens, 3);
  EXPECT_EQ(request.sampling.temperature, 0.5);
  EXPECT_TRUE(request.stop.empty());
  EXPECT_FALSE(generation->stream);
  const auto error = [&](const char* body) { return generator_.FromBody(body, "").error().message(); };
  EXPECT_THAT(error("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(error("{}"), HasSubstr("text_input, or input_ids"));
  EXPECT_THAT(error(R"({"text_input":"a","temperature":9})"), HasSubstr("temperature"));
  EXPECT_THAT(error(R"({"text_input":"a","parameters":{"x":1}})"), HasSubstr("parameter 'x' is not known"));
}

}  // namespace
}  // namespace ingot::kserve
