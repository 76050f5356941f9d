// Vocabularies in both forms give the same ids.
#include <gtest/gtest.h>

#include "convert/tokenizer_files.h"
#include "tokenizer/splitters.h"
#include "tokenizer/test_vocabularies.h"

namespace ingot::convert {
namespace {

using tokenizer::Tokenizer;

const std::vector<std::string> kTexts = {
    "",
    "a",
    " a",
    "Hello world, hello  again",
    "the theme of then 12345 is 2024!",
    "they'll we're I'D\n\n  x\t\ty \r\n",
    "naïve façade Größe 你好，世界 e\u0301 ẹ\u0301",
    "😀👍 \u00ad\u200b",
    "<s>marked</s> <|im_start|>user\nhi<|im_end|>\n",
    "▁▁ a▁b",
    std::string("broken \xff\xc3 bytes\0 nul", 20),
};

std::unique_ptr<Tokenizer> Make(const Vocabulary& vocabulary) {
  auto tokenizer = Tokenizer::Create(vocabulary);
  if (!tokenizer) ADD_FAILURE() << tokenizer.error().ToString();
  return tokenizer ? *std::move(tokenizer) : nullptr;
}

template <typename T>
void Take(const formats::GgufMetadata& metadata, const std::string& key, T* out) {
  for (const auto& [name, value] : metadata) {
    if (name == "tokenizer.ggml." + key) *out = std::get<typename std::decay_t<T>>(value);
  }
}

void TakeId(const formats::GgufMetadata& metadata, const std::string& key, std::optional<int64_t>* out) {
  for (const auto& [name, value] : metadata) {
    if (name == "tokenizer.ggml." + key + "_token_id") *out = std::get<uint32_t>(value);
  }
}

void TakeFlag(const formats::GgufMetadata& metadata, const std::string& key, std::optional<bool>* out) {
  for (const auto& [name, value] : metadata) {
    if (name == "tokenizer.ggml." + key) *out = std::get<bool>(value);
  }
}

// As a loader reads the keys.
Vocabulary FromMetadata(const formats::GgufMetadata& metadata) {
  GgufVocabulary gguf;
  Take(metadata, "model", &gguf.model);
  Take(metadata, "pre", &gguf.pre);
  Take(metadata, "tokens", &gguf.tokens);
  Take(metadata, "scores", &gguf.scores);
  Take(metadata, "token_type", &gguf.token_types);
  Take(metadata, "merges", &gguf.merges);
  TakeId(metadata, "bos", &gguf.bos_id);
  TakeId(metadata, "eos", &gguf.eos_id);
  TakeId(metadata, "eot", &gguf.eot_id);
  TakeId(metadata, "unknown", &gguf.unk_id);
  TakeFlag(metadata, "add_bos_token", &gguf.add_bos);
  TakeFlag(metadata, "add_eos_token", &gguf.add_eos);
  TakeFlag(metadata, "add_space_prefix", &gguf.add_space_prefix);
  Vocabulary vocabulary;
  vocabulary.gguf = std::move(gguf);
  return vocabulary;
}

Result<Vocabulary> ToGgufForm(const Vocabulary& source, int64_t padding = 0) {
  const auto tokenizer = Make(source);
  if (tokenizer == nullptr) return Internal("no tokenizer");
  INGOT_ASSIGN_OR_RETURN(const auto metadata,
                         GgufTokenizerMetadata(source, *tokenizer, "", tokenizer->vocab_size() + padding));
  return FromMetadata(metadata);
}

Result<Vocabulary> ToHuggingFaceForm(const Vocabulary& source) {
  const auto tokenizer = Make(source);
  if (tokenizer == nullptr) return Internal("no tokenizer");
  INGOT_ASSIGN_OR_RETURN(const auto files, HuggingFaceTokenizerFiles(source, *tokenizer, ""));
  Vocabulary vocabulary;
  for (const auto& [name, content] : files) {
    if (name == "tokenizer.json") vocabulary.tokenizer_json = content;
    if (name == "tokenizer_config.json") vocabulary.tokenizer_config_json = content;
    if (name == "special_tokens_map.json") vocabulary.special_tokens_map_json = content;
    if (name == "tokenizer.model") vocabulary.sentencepiece_model = content;
  }
  return vocabulary;
}

void ExpectSame(const Vocabulary& a, const Vocabulary& b) {
  const auto first = Make(a), second = Make(b);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->bos_id(), second->bos_id());
  EXPECT_EQ(first->adds_bos(), second->adds_bos());
  EXPECT_EQ(first->eos_ids(), second->eos_ids());
  for (const std::string& text : kTexts) {
    for (const bool special : {true, false}) {
      const auto ids = first->Encode(text, {.add_special_tokens = special});
      EXPECT_EQ(second->Encode(text, {.add_special_tokens = special}), ids) << text;
      EXPECT_EQ(second->Decode(ids), first->Decode(ids)) << text;
      EXPECT_EQ(second->Decode(ids, false), first->Decode(ids, false)) << text;
    }
  }
}

// There and back again.
void ExpectSameInEveryForm(const Vocabulary& source) {
  const auto gguf = source.gguf ? Result<Vocabulary>(source) : ToGgufForm(source, 3);
  ASSERT_TRUE(gguf) << gguf.error().ToString();
  if (!source.gguf) ExpectSame(source, *gguf);
  const auto hf = ToHuggingFaceForm(*gguf);
  ASSERT_TRUE(hf) << hf.error().ToString();
  ExpectSame(source, *hf);
  const auto again = ToGgufForm(*hf);
  ASSERT_TRUE(again) << again.error().ToString();
  ExpectSame(source, *again);
}

std::string Split(std::string_view pattern) {
  return R"({"type":"Split","pattern":{"Regex":)" + tokenizer::Quoted(pattern) +
         R"(},"behavior":"Isolated","invert":false})";
}

std::string Sequence(const std::string& steps) {
  return R"({"type":"Sequence","pretokenizers":[)" + steps +
         R"(,{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]})";
}

tokenizer::JsonParts Words() {
  return {
      .merges = {{"t", "h"}, {"th", "e"}, {"l", "l"}, {" ", "the"}, {"1", "2"}, {"12", "3"}, {"2", "0"}, {" ", " "}}};
}

TEST(ByteLevel, KeepsItsIds) {
  const std::pair<std::string, std::string> kinds[] = {
      {"null", R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})"},
      {"null", R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},)"
               R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]})"},
      {R"({"type":"NFC"})", Sequence(Split(tokenizer::kQwen2Pattern))},
      {"null", Sequence(Split(tokenizer::kQwen2Pattern))},
      {"null", Sequence(Split(tokenizer::kLlama3Pattern))},
      {"null", Sequence(Split(tokenizer::kO200kPattern))},
      {"null", Sequence(Split(tokenizer::kDeepSeek3NumberPattern) + "," + Split(tokenizer::kDeepSeek3HanPattern) + "," +
                        Split(tokenizer::kDeepSeek3Pattern))}};
  for (const auto& [normalizer, pre_tokenizer] : kinds) {
    SCOPED_TRACE(pre_tokenizer);
    tokenizer::JsonParts parts = Words();
    parts.normalizer = normalizer;
    parts.pre_tokenizer = pre_tokenizer;
    Vocabulary vocabulary = tokenizer::JsonVocabulary(parts);
    vocabulary.tokenizer_config_json = R"({"bos_token":"<s>","eos_token":"<|im_end|>","add_bos_token":true})";
    ExpectSameInEveryForm(vocabulary);
  }
}

// Llama 3 takes a whole word where the vocabulary has it, whatever its merges.
TEST(ByteLevel, KeepsIgnoredMergesAndEos) {
  tokenizer::JsonParts parts = Words();
  parts.pre_tokenizer = Sequence(Split(tokenizer::kLlama3Pattern));
  parts.model_members = R"("ignore_merges":true,)";
  Vocabulary vocabulary = tokenizer::JsonVocabulary(parts);
  vocabulary.tokenizer_config_json = R"({"bos_token":"<s>","eos_token":{"content":"</s>"},"add_eos_token":true})";
  vocabulary.eos_ids = {267, 265};
  ExpectSameInEveryForm(vocabulary);
}

TEST(ByteLevel, MatchesUserDefinedTokensWhole) {
  tokenizer::JsonParts parts = Words();
  parts.special = {"<s>"};
  parts.added_members = R"({"id":265,"content":"hello  ","single_word":false,"lstrip":false,"rstrip":false,)"
                        R"("normalized":false,"special":false},)";
  ExpectSameInEveryForm(tokenizer::JsonVocabulary(parts));
}

TEST(ByteLevel, IsRefusedWhereGgufHasNoName) {
  tokenizer::JsonParts parts = Words();
  parts.pre_tokenizer = Sequence(Split("[a-z]+"));
  const auto unknown = ToGgufForm(tokenizer::JsonVocabulary(parts));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code(), Code::kUnsupported);
  EXPECT_NE(unknown.error().ToString().find("[a-z]+"), std::string::npos) << unknown.error().ToString();
}

// Words, of which the later score lower; every character and every byte.
GgufVocabulary ScoredVocabulary() {
  GgufVocabulary gguf{.model = "llama"};
  const auto add = [&](std::string token, float score, int32_t type) {
    gguf.tokens.push_back(std::move(token));
    gguf.scores.push_back(score);
    gguf.token_types.push_back(type);
  };
  add("<unk>", 0, 2);
  add("<s>", 0, 3);
  add("</s>", 0, 3);
  for (int b = 0; b < 256; ++b) add(fmt::format("<0x{:02X}>", b), 0, 6);
  float score = 0;
  for (const char* word : {"th", "▁a",   "▁t", "he", "▁th",    "the", "▁the", "in", "er",   "ll",
                           "▁h", "ello", "lo", "el", "▁hello", "▁▁",  "12",   "34", "好，", "ï"})
    add(word, --score, 1);
  for (const char* letter : {"▁", "t", "h",  "e",  "a", "l", "o", "i", "n", "r",  "1", "2",
                             "3", "4", "好", "，", "w", "d", "m", "f", "s", "▁b", "b"})
    add(letter, --score, 1);
  add("<|im_start|>", 0, 4);
  add("<|im_end|>", 0, 3);
  gguf.bos_id = 1;
  gguf.eos_id = 2;
  gguf.unk_id = 0;
  return gguf;
}

TEST(SentencePieceLike, KeepsItsIds) {
  for (const bool prefix : {true, false}) {
    for (const bool adds_bos : {true, false}) {
      SCOPED_TRACE(fmt::format("prefix {} bos {}", prefix, adds_bos));
      Vocabulary vocabulary;
      vocabulary.gguf = ScoredVocabulary();
      vocabulary.gguf->add_space_prefix = prefix;
      vocabulary.gguf->add_bos = adds_bos;
      vocabulary.gguf->add_eos = !adds_bos;
      ExpectSameInEveryForm(vocabulary);
    }
  }
}

TEST(SentencePieceModel, KeepsItsIds) {
  const GgufVocabulary gguf = ScoredVocabulary();
  tokenizer::ModelWriter writer;
  for (size_t id = 0; id < gguf.tokens.size(); ++id)
    writer.Piece(gguf.tokens[id], gguf.scores[id], static_cast<tokenizer::ModelWriter::Type>(gguf.token_types[id]));
  Vocabulary vocabulary;
  vocabulary.sentencepiece_model = writer.Finish(2, true, true, false);
  vocabulary.tokenizer_config_json = R"({"bos_token":"<s>","eos_token":"</s>","add_bos_token":true})";
  const auto written = ToGgufForm(vocabulary, 5);
  ASSERT_TRUE(written) << written.error().ToString();
  ExpectSame(vocabulary, *written);
  // As it is, in Hugging Face's form.
  const auto copied = ToHuggingFaceForm(vocabulary);
  ASSERT_TRUE(copied);
  EXPECT_EQ(copied->sentencepiece_model, vocabulary.sentencepiece_model);
}

TEST(SentencePieceModel, UnigramIsRefused) {
  tokenizer::ModelWriter writer;
  writer.Piece("<unk>", 0, tokenizer::ModelWriter::kUnknown).Piece("a", -1).Piece("▁", -2);
  Vocabulary vocabulary;
  vocabulary.sentencepiece_model = writer.Finish(1, false, true, false);
  const auto refused = ToGgufForm(vocabulary);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().ToString().find("unigram"), std::string::npos) << refused.error().ToString();
}

TEST(Padding, GetsNamesThatNoTextBecomes) {
  const auto padded = ToGgufForm(tokenizer::JsonVocabulary(Words()), 3);
  ASSERT_TRUE(padded);
  EXPECT_EQ(padded->gguf->tokens.back(), fmt::format("[PAD{}]", padded->gguf->tokens.size() - 1));
  EXPECT_EQ(padded->gguf->token_types.back(), 5);
}

TEST(MainEos, IsTheOneThatTheFilesName) {
  Vocabulary vocabulary = tokenizer::JsonVocabulary(Words());
  vocabulary.tokenizer_config_json = R"({"eos_token":"<|im_end|>"})";
  vocabulary.eos_ids = {265};
  const auto tokenizer = Make(vocabulary);
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(MainEos(vocabulary, *tokenizer), tokenizer->TokenToId("<|im_end|>"));
}

}  // namespace
}  // namespace ingot::convert
