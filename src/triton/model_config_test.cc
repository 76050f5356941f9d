#include "triton/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ingot::triton {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(std::string_view json) {
  const auto config = ReadModelConfig(json, "/nowhere");
  return config ? "" : config.error().message();
}

TEST(ModelConfigTest, ParametersLoadTheModel) {
  const auto config = ReadModelConfig(
      R"({"parameters":{"model":{"string_value":"/m.gguf"},"session_len":{"string_value":"512"},)"
      R"("quant_policy":{"string_value":"8"},"enable_prefix_caching":{"string_value":"false"},)"
      R"("cache_max_entry_count":{"string_value":"0.25"}},"model_transaction_policy":{"decoupled":false}})",
      "/nowhere");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->load.model, "/m.gguf");
  EXPECT_EQ(config->load.session_len, 512);
  EXPECT_EQ(config->load.quant_policy, 8);
  EXPECT_EQ(config->load.cache_max_entry_count, 0.25);
  EXPECT_FALSE(config->load.enable_prefix_caching);
  EXPECT_FALSE(config->decoupled);
}

TEST(ModelConfigTest, WhatDoesNotFitIsRefused) {
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("'model' is missing"));
  EXPECT_THAT(ErrorOf(R"({"parameters":{"modle":{"string_value":"x"}}})"),
              HasSubstr("no parameter 'modle'; there are model"));
  EXPECT_THAT(ErrorOf(R"({"parameters":{"session_len":{"string_value":"-1"}}})"),
              HasSubstr("parameter 'session_len' is '-1', outside 0…"));
  EXPECT_THAT(ErrorOf(R"({"parameters":{"session_len":{"string_value":"1.5"}}})"), HasSubstr("'1.5'"));
  EXPECT_THAT(ErrorOf(R"({"parameters":{"exact":{"string_value":"maybe"}}})"), HasSubstr("true or false"));
}

TEST(ModelConfigTest, InputsAndOutputsAreCompleted) {
  const auto json = CompleteModelConfig(R"({"name":"m","input":[],"output":[],"max_batch_size":0})");
  ASSERT_TRUE(json);
  EXPECT_THAT(*json, HasSubstr(R"({"name":"text_input","data_type":"TYPE_STRING","dims":[1],"optional":true})"));
  EXPECT_THAT(*json, HasSubstr(R"({"name":"output_ids","data_type":"TYPE_INT32","dims":[-1]})"));
  EXPECT_THAT(*json, HasSubstr(R"("max_batch_size":128)"));
  const auto own = CompleteModelConfig(R"({"input":[{"name":"text_input"}],"output":[{"name":"text_output"}]})");
  EXPECT_THAT(*own, HasSubstr(R"("input":[{"name":"text_input"}])"));
}

TEST(ModelConfigTest, ConfigTextQuotesWhatItHolds) {
  EXPECT_THAT(ConfigText("m", {{"model", "/a \"b\"\\c"}}, true),
              HasSubstr(R"(parameters { key: "model" value { string_value: "/a \"b\"\\c" } })"));
}

}  // namespace
}  // namespace ingot::triton
