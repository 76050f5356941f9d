#include "bench/report.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace ingot::bench {
namespace {

// Sent at `sent`, pieces 10 ms apart from 100 ms later on, ended with the last.
RequestRecord Answered(double sent, int pieces) {
  RequestRecord record{.sent = sent, .prompt_tokens = 8, .output_tokens = pieces, .has_usage = true};
  for (int i = 0; i < pieces; ++i) record.pieces.push_back(sent + 0.1 + 0.01 * i);
  record.end = pieces > 0 ? record.pieces.back() : sent + 0.1;
  return record;
}
RequestRecord Failed(const std::string& kind) {
  return {.end = 9, .pieces = {1, 5}, .failure = kind, .message = "no " + kind};
}

TEST(Times, OfOneRequest) {
  const RequestRecord record = Answered(2, 5);
  EXPECT_NEAR(*TimeToFirstToken(record), 100, 1e-9);
  EXPECT_NEAR(*TimePerOutputToken(record), 10, 1e-9);
  EXPECT_NEAR(EndToEndLatency(record), 140, 1e-9);
  EXPECT_FALSE(TimePerOutputToken(Answered(0, 1)));
  EXPECT_FALSE(TimeToFirstToken(Answered(0, 0)));
}

TEST(Evaluate, CountsAndRates) {
  const std::vector<RequestRecord> records = {Answered(0, 5), Failed("429"), Answered(1, 3), Failed("429"),
                                              Failed("connection")};
  const Report report = Evaluate(records, 4, {});
  EXPECT_EQ(report.completed, 2);
  EXPECT_EQ(report.failed, 3);
  EXPECT_EQ(report.failures, (std::map<std::string, int64_t>{{"429", 2}, {"connection", 1}}));
  EXPECT_EQ(report.first_failure, "no 429");
  EXPECT_EQ(report.total_input_tokens, 16);
  EXPECT_EQ(report.total_output_tokens, 8);
  EXPECT_EQ(report.PerSecond(report.total_output_tokens), 2);
  EXPECT_EQ(report.ttft.count, 2);  // failed ones do not count
  EXPECT_EQ(report.itl.count, 4 + 2);
  EXPECT_NEAR(report.itl.max, 10, 1e-6);
  EXPECT_FALSE(report.good);
}

TEST(Evaluate, Goodput) {
  const std::vector<RequestRecord> records = {Answered(0, 5), Answered(0, 50), Answered(0, 1), Failed("429")};
  const auto good = [&](Goodput goodput) { return *Evaluate(records, 1, {.goodput = goodput}).good; };
  EXPECT_EQ(good({}), 3);
  EXPECT_EQ(good({.ttft = 101}), 3);
  EXPECT_EQ(good({.ttft = 99}), 0);
  EXPECT_EQ(good({.tpot = 9}), 1);  // the one without a second token cannot be late with it
  EXPECT_EQ(good({.ttft = 101, .tpot = 11, .e2el = 141}), 2);
}

TEST(Evaluate, NothingAnswered) {
  const std::vector<RequestRecord> records = {Failed("connection")};
  const Report report = Evaluate(records, 0, {});
  EXPECT_EQ(report.PerSecond(report.completed), 0);
  std::string out = "{";
  AppendJson(out, report, records, {});
  EXPECT_TRUE(ParseJson(out + "}", "report")) << out;
  EXPECT_NE(ToTable(report, {}).find("0 answered, 1 failed (connection: 1)"), std::string::npos);
}

TEST(Report, JsonHoldsTheFigures) {
  const std::vector<RequestRecord> records = {Answered(0, 5), Failed("5\"0\"0"), Answered(0, 0)};
  const ReportOptions options{.percents = {50, 99.9}, .goodput = Goodput{.ttft = 200}, .details = true};
  const Report report = Evaluate(records, 2, options);
  std::string out = "{";
  AppendJson(out, report, records, options);
  const auto json = ParseJson(out + "}", "report");
  ASSERT_TRUE(json) << out;
  const JsonView view(*json, "");
  EXPECT_EQ(view.Int("completed"), 2);
  EXPECT_EQ(view.Find("failures")->Int("5\"0\"0"), 1);
  EXPECT_EQ(view.String("tokens_counted_from"), "usage");
  EXPECT_EQ(view.Double("request_goodput"), 1);
  for (const char* name : {"mean_ttft_ms", "median_tpot_ms", "std_itl_ms", "p50_e2el_ms", "p99.9_ttft_ms"})
    EXPECT_TRUE(view.Double(name)) << name;
  const JsonView requests = view.Find("requests").value();
  EXPECT_EQ(requests.value().get_array().size(), 3u);
  EXPECT_EQ(requests.At(0).Find("itl_ms")->value().get_array().size(), 4u);
  EXPECT_FALSE(requests.At(2).Find("ttft_ms"));
  EXPECT_EQ(requests.At(1).String("message"), "no 5\"0\"0");
}

TEST(Report, TableSaysWhoCounted) {
  RequestRecord counted = Answered(0, 2);
  counted.has_usage = false;
  counted.prompt_tokens = 0;
  const std::vector<RequestRecord> records = {counted};
  const std::string table = ToTable(Evaluate(records, 1, {}), {});
  EXPECT_NE(table.find("pieces were counted"), std::string::npos) << table;
  EXPECT_NE(table.find("(not reported)"), std::string::npos) << table;
  EXPECT_NE(table.find("p99"), std::string::npos) << table;
}

TEST(Parsing, Goodput) {
  EXPECT_FALSE(*ParseGoodput({}));
  const auto goodput = ParseGoodput({"ttft:200", "tpot:50.5", "e2el:1e3"});
  ASSERT_TRUE(goodput);
  EXPECT_EQ((*goodput)->ttft, 200);
  EXPECT_EQ((*goodput)->tpot, 50.5);
  EXPECT_EQ((*goodput)->e2el, 1000);
  for (const char* bad : {"", "ttft", "ttft:", "ttft:x", "ttft:-1", "ttft:nan", "itl:5", "ttft:5ms"})
    EXPECT_FALSE(ParseGoodput({bad})) << bad;
  EXPECT_FALSE(ParseGoodput({"ttft:1", "ttft:2"}));
}

TEST(Parsing, Percents) {
  EXPECT_EQ(ParsePercents("50,90,99.9"), (std::vector<double>{50, 90, 99.9}));
  EXPECT_EQ(ParsePercents("0,100"), (std::vector<double>{0, 100}));
  for (const char* bad : {"", ",", "50,", "a", "101", "-1", "90,50", "50,50", "50 90", "nan"})
    EXPECT_FALSE(ParsePercents(bad)) << bad;
  EXPECT_EQ(PercentName(99), "p99");
  EXPECT_EQ(PercentName(99.9), "p99.9");
}

}  // namespace
}  // namespace ingot::bench
