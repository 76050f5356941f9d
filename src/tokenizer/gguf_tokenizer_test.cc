#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer/test_vocabularies.h"

namespace ingot::tokenizer {
namespace {

using Ids = std::vector<int32_t>;
using testing::ElementsAre;
using testing::HasSubstr;

std::unique_ptr<Tokenizer> Make(const GgufVocabulary& gguf) {
  Vocabulary vocabulary;
  vocabulary.gguf = gguf;
  auto tokenizer = Tokenizer::Create(vocabulary);
  EXPECT_TRUE(tokenizer) << tokenizer.error().ToString();
  return tokenizer ? *std::move(tokenizer) : nullptr;
}

GgufVocabulary Gpt2(const std::string& pre) {
  GgufVocabulary gguf;
  gguf.model = "gpt2";
  gguf.pre = pre;
  for (int b = 0; b < 256; ++b) gguf.tokens.push_back(BytesToSpelling(std::string(1, static_cast<char>(b))));
  for (const auto& [left, right] :
       {std::pair("1", "2"), std::pair("Ġ", "Ġ"), std::pair("e", "Ì"), std::pair("h", "i")}) {
    gguf.merges.push_back(std::string(left) + " " + right);
    gguf.tokens.push_back(std::string(left) + right);
  }
  gguf.token_types.assign(gguf.tokens.size(), 1);
  for (const char* special : {"<|begin_of_text|>", "<|eot_id|>"}) {
    gguf.tokens.push_back(special);
    gguf.token_types.push_back(3);
  }
  gguf.tokens.push_back("<tool>");
  gguf.token_types.push_back(4);
  gguf.bos_id = 260;
  gguf.eos_id = 261;
  return gguf;
}

TEST(Gguf, SaysWhatIsMissing) {
  testing::internal::CaptureStderr();
  Make(Gpt2("gpt-2"));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  Make(Gpt2(""));
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("tokenizer.ggml.pre is missing: text is split as \"default\" splits it, which is a guess; "
                        "--tokenizer-pre sets it (gpt-2, llama-bpe, "));
  Vocabulary vocabulary{.gguf = Gpt2("unheard-of")};
  EXPECT_THAT(Tokenizer::Create(vocabulary).error().message(),
              HasSubstr("tokenizer.ggml.pre \"unheard-of\" is not known; --tokenizer-pre names another"));
  vocabulary.gguf = Gpt2("gpt-2");
  vocabulary.gguf->merges.clear();
  EXPECT_THAT(Tokenizer::Create(vocabulary).error().message(), HasSubstr("tokenizer.ggml.merges is missing or empty"));
}

TEST(Gguf, PreTokenizersByName) {
  const auto plain = Make(Gpt2("gpt-2")), digits = Make(Gpt2("smollm")), llama = Make(Gpt2("llama-bpe"));
  EXPECT_THAT(plain->Encode("12"), ElementsAre(256));
  EXPECT_EQ(digits->Encode("12").size(), 2u);
  EXPECT_THAT(llama->Encode("12"), ElementsAre(260, 256));  // with BOS
  EXPECT_THAT(digits->Encode("  1"), ElementsAre(257, digits->TokenToId("1")));
  EXPECT_EQ(plain->Encode("  1").size(), 3u);
  // Qwen's files come from tokenizers with NFC.
  const auto qwen = Make(Gpt2("qwen2"));
  EXPECT_EQ(qwen->Decode(qwen->Encode("e\u0301")), "é");
  EXPECT_EQ(plain->Decode(plain->Encode("e\u0301")), "e\u0301");
  for (const char* pre : {"", "default", "deepseek-llm", "deepseek-coder", "deepseek-v3", "gpt-4o", "tekken", "kimi-k2",
                          "falcon", "starcoder", "refact", "command-r", "qwen35", "llama3"}) {
    const auto tokenizer = Make(Gpt2(pre));
    ASSERT_NE(tokenizer, nullptr) << pre;
    const std::string text = "Hello, 世界! It's 12345 \n\n  x½é\u0301 <tool>";
    const Ids ids = tokenizer->Encode(text, {.add_special_tokens = false});
    if (std::string(pre) != "qwen35") EXPECT_EQ(tokenizer->Decode(ids), text) << pre;
  }
}

TEST(Gguf, TokenTypes) {
  const auto tokenizer = Make(Gpt2("gpt-2"));
  EXPECT_THAT(tokenizer->Encode("hi<|eot_id|>"), ElementsAre(259, 261));
  EXPECT_EQ(std::ranges::count(tokenizer->Encode(MarkedText::Untrusted("<|eot_id|>"), {}), 261), 0);
  EXPECT_THAT(tokenizer->Encode(MarkedText::Untrusted("<tool>"), {}), ElementsAre(262));
  EXPECT_TRUE(tokenizer->IsSpecial(261));
  EXPECT_FALSE(tokenizer->IsSpecial(262));
  EXPECT_THAT(tokenizer->eos_ids(), ElementsAre(261));
  EXPECT_FALSE(tokenizer->adds_bos());
  GgufVocabulary gguf = Gpt2("gpt-2");
  gguf.add_bos = gguf.add_eos = true;
  EXPECT_THAT(Make(gguf)->Encode("hi"), ElementsAre(260, 259, 261));
}

TEST(Gguf, LlamaKind) {
  GgufVocabulary gguf;
  gguf.model = "llama";
  gguf.tokens = {"<unk>", "<s>", "</s>"};
  gguf.token_types = {2, 3, 3};
  gguf.scores = {0, 0, 0};
  for (int b = 0; b < 256; ++b) {
    gguf.tokens.push_back(fmt::format("<0x{:02X}>", b));
    gguf.token_types.push_back(6);
    gguf.scores.push_back(0);
  }
  for (const char* piece : {"▁a", "ab", "▁ab", "▁", "a", "b"}) {
    gguf.tokens.push_back(piece);
    gguf.token_types.push_back(1);
    gguf.scores.push_back(-static_cast<float>(gguf.tokens.size()));
  }
  auto tokenizer = Make(gguf);
  EXPECT_THAT(tokenizer->Encode("ab"), ElementsAre(1, 261));
  EXPECT_THAT(tokenizer->Encode("ab</s>b"), ElementsAre(1, 261, 2, 262, 264));
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("ab é  b")), "ab é  b");
  gguf.add_space_prefix = false;
  gguf.add_bos = false;
  tokenizer = Make(gguf);
  EXPECT_THAT(tokenizer->Encode("ab"), ElementsAre(260));
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(" ab")), " ab");
}

TEST(Gguf, RefusesByName) {
  const auto error = [](const GgufVocabulary& gguf) {
    Vocabulary vocabulary;
    vocabulary.gguf = gguf;
    const auto tokenizer = Tokenizer::Create(vocabulary);
    return tokenizer ? "loaded" : tokenizer.error().ToString();
  };
  EXPECT_THAT(error(Gpt2("klingon")), HasSubstr("klingon"));
  GgufVocabulary gguf = Gpt2("gpt-2");
  gguf.model = "bert";
  EXPECT_THAT(error(gguf), HasSubstr("bert"));
  gguf = Gpt2("gpt-2");
  gguf.token_types.pop_back();
  EXPECT_THAT(error(gguf), HasSubstr("token_type"));
  gguf = Gpt2("gpt-2");
  gguf.scores = {1.0f};
  EXPECT_THAT(error(gguf), HasSubstr("scores"));
  gguf = Gpt2("gpt-2");
  gguf.bos_id = 1 << 30;
  gguf.eos_id = -7;
  EXPECT_EQ(Make(gguf)->bos_id(), -1);
  EXPECT_THAT(error({.model = "gpt2"}), HasSubstr("tokens"));
}

}  // namespace
}  // namespace ingot::tokenizer
