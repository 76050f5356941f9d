#include "llm/params.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace ingot::llm {
namespace {

// Sets a parameter and checks it.
std::string Message(std::string_view name, const boost::json::value& value) {
  Request request;
  const Param& param = *FindParam(name);
  Status status = SetParam(param, JsonView(value, std::string(name)), &request);
  if (status.ok()) status = CheckParam(param, request, {.vocab_size = 260});
  EXPECT_TRUE(status.ok() || status.code() == Code::kInvalidArgument);
  return status.message();
}

TEST(Params, ErrorsNameTheFieldTheValueAndTheRange) {
  EXPECT_EQ(Message("temperature", 2.5), "temperature 2.5 is outside 0…2");
  EXPECT_EQ(Message("temperature", -0.1), "temperature -0.1 is outside 0…2");
  EXPECT_EQ(Message("top_k", -2), "top_k -2 is outside -1…16777216");
  EXPECT_EQ(Message("top_p", 1.5), "top_p 1.5 is outside 0…1");
  EXPECT_EQ(Message("min_p", 1.5), "min_p 1.5 is outside 0…1");
  EXPECT_EQ(Message("repetition_penalty", 0), "repetition_penalty 0 is outside 0.01…100");
  EXPECT_EQ(Message("presence_penalty", 3), "presence_penalty 3 is outside -2…2");
  EXPECT_EQ(Message("frequency_penalty", -3), "frequency_penalty -3 is outside -2…2");
  EXPECT_EQ(Message("logprobs", 21), "logprobs 21 is outside 0…20");
  EXPECT_EQ(Message("n", 0), "n 0 is outside 1…128");
  EXPECT_EQ(Message("timeout", 0), "timeout 0 is outside 1e-06…1000000");
  EXPECT_EQ(Message("priority", 1001), "priority 1001 is outside -1000…1000");
  EXPECT_EQ(Message("cache_salt", boost::json::string(257, 'x')),
            "cache_salt has 257 characters; at most 256 are taken");
  EXPECT_EQ(Message("stop", {"a", ""}), "stop[1] is empty");
  EXPECT_EQ(Message("stop", boost::json::array(65, boost::json::value("x"))),
            "stop has 65 entries; at most 64 are taken");
  EXPECT_EQ(Message("bad_words", boost::json::array(257, boost::json::value("x"))),
            "bad_words has 257 entries; at most 256 are taken");
  EXPECT_EQ(Message("stop_token_ids", {5, 260}), "stop_token_ids: id 260 is outside 0…259");
  EXPECT_EQ(Message("logit_bias", {{"260", 1}}), "logit_bias: id 260 is outside 0…259");
  EXPECT_EQ(Message("logit_bias", {{"x", 1}}), "logit_bias: 'x' is no token id");
  EXPECT_EQ(Message("logit_bias", {{"5", -101}}), "logit_bias of 5 is -101, outside -100…100");
  Request request{.sampling = {.temperature = std::nan("")}};
  EXPECT_EQ(CheckParam(*FindParam("temperature"), request).message(), "temperature nan is outside 0…2");
}

TEST(Params, ValuesAtTheirBoundsAreTaken) {
  EXPECT_EQ(Message("top_p", 0), "");
  EXPECT_EQ(Message("top_k", -1), "");
  EXPECT_EQ(Message("repetition_penalty", 100), "");
  EXPECT_EQ(Message("stop", boost::json::array(64, boost::json::value("x"))), "");
  EXPECT_EQ(Message("stop", "one"), "");
  boost::json::string long_text;
  for (int i = 0; i < 1024; ++i) long_text += "é";
  EXPECT_EQ(Message("stop", long_text), "");
  EXPECT_EQ(Message("stop", boost::json::string(long_text).append("x")),
            "stop[0] has 1025 characters; at most 1024 are taken");
  EXPECT_EQ(Message("seed", INT64_MIN), "");
  EXPECT_EQ(Message("seed", INT64_MAX), "");
  EXPECT_EQ(Message("logit_bias", {{"259", 100}, {"0", nullptr}}), "");
}

TEST(Params, WhatIsSetIsThere) {
  for (const Param& param : AllParams()) {
    SCOPED_TRACE(param.name);
    Request request;
    const boost::json::value before = ValueOf(param, request);
    ASSERT_TRUE(CheckParam(param, request).ok());
    boost::json::value value;
    if (before.is_bool()) value = !before.get_bool();
    if (before.is_object()) value = {{"7", 2.5}};
    if (before.is_string()) value = "text";
    if (before.is_array())
      value = std::string_view(param.name) == "stop_token_ids" ? boost::json::value{7} : boost::json::value{"text"};
    if (value.is_null()) value = 1;
    if (before.is_double()) value = 0.5;
    ASSERT_TRUE(SetParam(param, JsonView(value, param.name), &request).ok());
    const auto set = ValueOf(param, request);
    EXPECT_EQ(set.is_double() && value.is_int64() ? boost::json::value(1.0) : value, set);
    const bool takes_any_type = SetParam(param, JsonView(boost::json::value(boost::json::array()), "x"), &request).ok();
    const bool takes_pairs = before.is_object();  // logit_bias may be a list of pairs, as llama-server has it
    EXPECT_EQ(takes_any_type, before.is_array() || takes_pairs);
  }
}

TEST(Params, NamesAndFlagsAreThereOnce) {
  std::set<std::string> names;
  for (const Param& param : AllParams()) {
    EXPECT_TRUE(names.insert(FlagOf(param)).second) << param.name;
    EXPECT_EQ(FindParam(param.name), &param);
    EXPECT_NE(param.uses, 0u);
  }
  EXPECT_EQ(FindParam("temp"), nullptr);
  EXPECT_EQ(FlagOf(*FindParam("top_p")), "--top-p");
  EXPECT_EQ(FlagOf(*FindParam("timeout")), "--deadline");
}

}  // namespace
}  // namespace ingot::llm
