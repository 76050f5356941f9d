#include "bench/dataset.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include "base/mapped_file.h"

namespace ingot::bench {
namespace {

Result<std::vector<DatasetEntry>> Read(const std::string& content, size_t max_entries = 100) {
  const std::string path = testing::TempDir() + "dataset_test." + std::to_string(getpid());
  EXPECT_TRUE(WriteFile(path, content).ok());
  auto entries = ReadDataset(path, max_entries);
  std::remove(path.c_str());
  return entries;
}

TEST(Dataset, ShareGpt) {
  const auto entries = Read(R"([
    {"id": "a", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}, {"value": "?"}]},
    {"id": "b", "conversations": [{"from": "human", "value": "alone"}]}, {"id": "c", "conversations": []},
    {"id": "d", "conversations": [{"from": "human", "value": "Ho"}, {"from": "gpt", "value": ""}]}])");
  ASSERT_TRUE(entries) << entries.error().message();
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].prompt, "Hi");
  EXPECT_EQ((*entries)[0].reply, "Hello.");
  EXPECT_EQ((*entries)[1].prompt, "Ho");
  EXPECT_TRUE((*entries)[1].body.empty());
}

TEST(Dataset, Batch) {
  const auto entries = Read(
      R"({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "Hi"}]}})"
      "\n\n"
      R"({"body": {"prompt": [1, 2], "max_tokens": 4}})"
      "\r\n"
      R"({"messages": []})");
  ASSERT_TRUE(entries) << entries.error().message();
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ((*entries)[0].url, "/v1/chat/completions");
  EXPECT_EQ((*entries)[1].url, "/v1/completions");
  EXPECT_EQ(boost::json::serialize((*entries)[1].body), R"({"prompt":[1,2],"max_tokens":4})");
  EXPECT_EQ((*entries)[2].url, "/v1/chat/completions");
}

TEST(Dataset, PromptsWithLengths) {
  const auto entries = Read(
      "{\"prompt\": \"a\", \"output_tokens\": 3}\n{\"prompt\": \"b\", \"completion\": \"c d\"}\n"
      "{\"conversations\": [{\"value\": \"e\"}, {\"value\": \"f\"}]}");
  ASSERT_TRUE(entries) << entries.error().message();
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ((*entries)[0].output_len, 3);
  EXPECT_EQ((*entries)[1].reply, "c d");
  EXPECT_EQ((*entries)[2].prompt, "e");
}

TEST(Dataset, PlainText) {
  const auto entries = Read("\xEF\xBB\xBFone\r\n\n  \ntwo words\nthree", 2);
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].prompt, "one");
  EXPECT_EQ((*entries)[1].prompt, "two words");
}

TEST(Dataset, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> kBad[] = {
      {"", "no prompts"},
      {"\n \n", "no prompts"},
      {"[]", "no prompts"},
      {"[1]", "must be an object"},
      {"[{\"conversations\": 5}]", "[0]: conversations"},
      {"[{\"conversations\": [{\"value\": 1}, {\"value\": \"\"}]}]", "value"},
      {"{\"prompt\": \"a\"}\n{\"prompt\": ", ":2"},
      {"{\"prompt\": \"\"}", "prompt is empty"},
      {"{\"prompt\": \"a\", \"output_len\": 0}", "output_len is below 1"},
      {"{\"body\": {}}", "neither messages nor prompt"},
      {"{\"body\": []}", "body"},
  };
  for (const auto& [content, message] : kBad) {
    const auto entries = Read(content);
    ASSERT_FALSE(entries) << content;
    EXPECT_NE(entries.error().message().find(message), std::string::npos)
        << content << ": " << entries.error().message();
  }
  EXPECT_FALSE(ReadDataset("/nowhere/at.all", 1));
}

}  // namespace
}  // namespace ingot::bench
