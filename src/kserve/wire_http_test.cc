#include "kserve/wire_http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ingot::kserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ErrorOf(std::string_view body, std::string_view length = "") {
  const auto infer = ParseInfer(body, length);
  return infer ? "" : infer.error().message();
}

TEST(WireHttpTest, TensorsComeAsJsonOrAsBytesBehindIt) {
  const std::string json =
      R"({"id":"7","inputs":[{"name":"text_input","datatype":"BYTES","shape":[1,1],"parameters":{"binary_data_size":6}},)"
      R"({"name":"top_k","datatype":"INT32","shape":[1,1],"data":[[5]]}],)"
      R"("outputs":[{"name":"text_output","parameters":{"binary_data":false}}],"parameters":{"binary_data_output":true}})";
  const auto infer = ParseInfer(json + std::string("\2\0\0\0hi", 6), std::to_string(json.size()));
  ASSERT_TRUE(infer) << infer.error().message();
  EXPECT_EQ(infer->request.id, "7");
  ASSERT_EQ(infer->request.inputs.size(), 2u);
  EXPECT_EQ(*Values(infer->request.inputs[0]), (boost::json::array{"hi"}));
  EXPECT_EQ(*Values(infer->request.inputs[1]), (boost::json::array{5}));
  EXPECT_THAT(infer->request.outputs, ElementsAre("text_output"));
  EXPECT_TRUE(infer->binary_outputs);
  EXPECT_TRUE(infer->plain.contains("text_output"));
}

TEST(WireHttpTest, BodiesThatDoNotFitAreRefused) {
  EXPECT_THAT(ErrorOf("{}", "3"), HasSubstr("Inference-Header-Content-Length is '3'"));
  EXPECT_THAT(ErrorOf("{}", "-1"), HasSubstr("Inference-Header-Content-Length"));
  EXPECT_THAT(ErrorOf("{}x", "2"), HasSubstr("1 bytes behind the JSON"));
  EXPECT_NE(ErrorOf("[]"), "");
  EXPECT_NE(ErrorOf(R"({"inputs":[1]})"), "");
  const auto with = [](const std::string& rest) { return ErrorOf(R"({"inputs":[{"name":"x",)" + rest + "}]}"); };
  EXPECT_THAT(with(R"("datatype":"FP8","shape":[1],"data":[1])"), HasSubstr("datatype 'FP8'"));
  EXPECT_THAT(with(R"("datatype":"FP32","shape":[1])"), HasSubstr("binary_data_size"));
  EXPECT_THAT(with(R"("datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4})"),
              HasSubstr("0 bytes are left"));
  EXPECT_THAT(with(R"("datatype":"FP32","shape":[2],"data":[1])"), HasSubstr("takes 8 bytes, 4 are given"));
  EXPECT_THAT(with(R"("datatype":"FP32","shape":[1],"parameters":{"shared_memory_region":"r"})"),
              HasSubstr("shared memory"));
}

TEST(WireHttpTest, OutputsAreWrittenAsAsked) {
  const std::string texts[] = {"hi"};
  const int32_t ids[] = {1, 2};
  const InferResponse response{
      "7",
      "m",
      {},
      {TextTensor("text_output", {1, 1}, texts), NumberTensor<int32_t>("output_ids", DataType::kInt32, {1, 2}, ids)}};
  EXPECT_EQ(WriteInfer(response, {}).text,
            R"({"model_name":"m","model_version":"1","id":"7","outputs":[{"name":"text_output","datatype":"BYTES",)"
            R"("shape":[1,1],"data":["hi"]},{"name":"output_ids","datatype":"INT32","shape":[1,2],"data":[1,2]}]})");
  HttpInfer asked;
  asked.binary = {"output_ids"};
  const HttpBody body = WriteInfer(response, asked);
  EXPECT_THAT(body.text, HasSubstr(R"("parameters":{"binary_data_size":8}}]})"));
  EXPECT_EQ(body.text.substr(body.json_length), std::string("\1\0\0\0\2\0\0\0", 8));
  EXPECT_EQ(WriteGenerate(response),
            R"({"id":"7","model_name":"m","model_version":"1","text_output":"hi","output_ids":[1,2]})");
}

}  // namespace
}  // namespace ingot::kserve
