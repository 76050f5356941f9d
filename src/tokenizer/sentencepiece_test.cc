#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer/charsmap.h"
#include "tokenizer/sentencepiece_model.h"
#include "tokenizer/test_vocabularies.h"

namespace ingot::tokenizer {
namespace {

using Ids = std::vector<int32_t>;
using testing::ElementsAre;
using testing::HasSubstr;

std::unique_ptr<Tokenizer> Make(const Vocabulary& vocabulary) {
  auto tokenizer = Tokenizer::Create(vocabulary);
  EXPECT_TRUE(tokenizer) << tokenizer.error().ToString();
  return tokenizer ? *std::move(tokenizer) : nullptr;
}

// Ids: <unk> 0, <s> 1, </s> 2, bytes 3…258, then the pieces.
std::string LlamaModel() {
  ModelWriter writer;
  writer.Piece("<unk>", 0, ModelWriter::kUnknown)
      .Piece("<s>", 0, ModelWriter::kControl)
      .Piece("</s>", 0, ModelWriter::kControl);
  writer.AllBytes();
  writer.Piece("▁h", -1).Piece("el", -2).Piece("lo", -3).Piece("▁hel", -4).Piece("▁hello", -5);
  writer.Piece("<eoa>", 0, ModelWriter::kUserDefined).Piece("<tag>", 0, ModelWriter::kUserDefined);
  for (const char* piece : {"▁", "h", "e", "l", "o", "<", "a", ">", "t", "g", "s", "/"}) writer.Piece(piece, -10);
  return writer.Finish(2, true, true, false);
}
constexpr int32_t kPieces = 259;

Vocabulary LlamaVocabulary() {
  Vocabulary vocabulary;
  vocabulary.sentencepiece_model = LlamaModel();
  return vocabulary;
}

TEST(SentencePiece, MergesByScore) {
  const auto tokenizer = Make(LlamaVocabulary());
  EXPECT_THAT(tokenizer->Encode("hello"), ElementsAre(1, kPieces + 4));
  EXPECT_THAT(tokenizer->Encode("hello", {.add_special_tokens = false}), ElementsAre(kPieces + 4));
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("hello hello")), "hello hello");
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("  hello ")), "  hello ");
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_TRUE(tokenizer->strips_leading_space());
  EXPECT_THAT(tokenizer->eos_ids(), ElementsAre(2, kPieces + 5));  // </s> and <eoa>
}

TEST(SentencePiece, BytesWhereThereIsNoPiece) {
  const auto tokenizer = Make(LlamaVocabulary());
  EXPECT_EQ(tokenizer->Encode("é", {.add_special_tokens = false}), (Ids{kPieces + 7, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(tokenizer->Decode(Ids{3 + 0xC3, 3 + 0xA9}), "é");
  EXPECT_EQ(tokenizer->Decode(Ids{3 + 0xE4, 3 + 0xBD, kPieces + 8}), "\uFFFD\uFFFDh");
  IncrementalDecoder decoder(*tokenizer, true);
  EXPECT_EQ(decoder.Push(3 + 0xC3), "");
  EXPECT_EQ(decoder.Push(3 + 0xA9), "é");
}

TEST(SentencePiece, SpecialTokensCutTheText) {
  Vocabulary vocabulary = LlamaVocabulary();
  auto tokenizer = Make(vocabulary);
  EXPECT_THAT(tokenizer->Encode("<s>hello</s>hello"), ElementsAre(1, kPieces + 4, 2, kPieces + 4));
  EXPECT_EQ(std::ranges::count(tokenizer->Encode(MarkedText::Untrusted("</s><eoa>"), {}), 2), 0);
  EXPECT_EQ(std::ranges::count(tokenizer->Encode(MarkedText::Untrusted("</s><eoa>"), {}), kPieces + 5), 0);
  EXPECT_EQ(std::ranges::count(tokenizer->Encode("h<eoa>"), kPieces + 5), 1);
  EXPECT_EQ(std::ranges::count(tokenizer->Encode(MarkedText::Untrusted("h<tag>"), {}), kPieces + 6),
            1);  // plain user-defined
  // Without `legacy`, only the beginning gets a space in front.
  vocabulary.tokenizer_config_json = R"({"legacy":false})";
  tokenizer = Make(vocabulary);
  EXPECT_THAT(tokenizer->Encode("</s>hel"), ElementsAre(1, 2, kPieces + 8, kPieces + 1));
}

TEST(SentencePiece, ConfigurationAddsTokens) {
  Vocabulary vocabulary = LlamaVocabulary();
  vocabulary.tokenizer_config_json =
      R"({"add_bos_token":false,"add_eos_token":true,"added_tokens_decoder":{"400":{"content":"<|im_end|>","special":true}}})";
  const auto tokenizer = Make(vocabulary);
  EXPECT_EQ(tokenizer->vocab_size(), 401);
  EXPECT_THAT(tokenizer->Encode("hello<|im_end|>"), ElementsAre(kPieces + 4, 400, 2));
  EXPECT_THAT(tokenizer->eos_ids(), testing::Contains(400));
  vocabulary.tokenizer_config_json = R"({"added_tokens_decoder":{"99999999":{"content":"x"}}})";
  EXPECT_FALSE(Tokenizer::Create(vocabulary));
}

TEST(SentencePiece, AddedTokensJsonAddsTokens) {
  Vocabulary vocabulary = LlamaVocabulary();
  vocabulary.added_tokens_json = R"({"<|im_start|>":400,"<|im_end|>":401,"<extra>":402,"<named>":403})";
  vocabulary.tokenizer_config_json = R"({"add_bos_token":false})";
  vocabulary.special_tokens_map_json = R"({"additional_special_tokens":["<named>"]})";
  auto tokenizer = Make(vocabulary);
  EXPECT_THAT(tokenizer->Encode("<|im_start|>hello<|im_end|><extra><named>"),
              ElementsAre(400, kPieces + 4, 401, 402, 403));
  EXPECT_TRUE(tokenizer->IsSpecial(400) && tokenizer->IsSpecial(403));
  EXPECT_FALSE(tokenizer->IsSpecial(402));
  EXPECT_THAT(tokenizer->eos_ids(), testing::Contains(401));
  vocabulary.added_tokens_json = R"({"x":99999999})";
  EXPECT_THAT(Tokenizer::Create(vocabulary).error().message(), HasSubstr("id 99999999"));
  // What tokenizer_config.json lists counts alone.
  vocabulary.tokenizer_config_json = R"({"added_tokens_decoder":{"400":{"content":"<a>"}}})";
  tokenizer = Make(vocabulary);
  EXPECT_EQ(tokenizer->vocab_size(), 401);
}

TEST(SentencePiece, UnigramFindsTheBestPath) {
  ModelWriter writer;
  writer.Piece("<unk>", 0, ModelWriter::kUnknown);
  writer.Piece("▁", -3).Piece("a", -3).Piece("b", -3).Piece("ab", -4).Piece("bb", -2).Piece("▁a", -5);
  Vocabulary vocabulary;
  vocabulary.sentencepiece_model = writer.Finish(1, false, true, true);
  const auto tokenizer = Make(vocabulary);
  EXPECT_EQ(tokenizer->Encode("abb", {.add_special_tokens = false}), (Ids{6, 5}));     // ▁a bb: -7; ▁ ab b: -10
  EXPECT_EQ(tokenizer->Encode("éxa", {.add_special_tokens = false}), (Ids{1, 0, 2}));  // a run of unknowns is one
  EXPECT_EQ(tokenizer->Encode("  a   a ", {.add_special_tokens = false}), (Ids{6, 6}));
}

TEST(SentencePiece, DamagedFilesAreErrors) {
  const std::string good = LlamaModel();
  ASSERT_TRUE(ParseSentencePieceModel(good));
  EXPECT_FALSE(ParseSentencePieceModel(""));
  EXPECT_FALSE(ParseSentencePieceModel("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F"));
  const auto long_piece = ParseSentencePieceModel(
      "\x0A\x05\x0A\x64"
      "abc");
  ASSERT_FALSE(long_piece);
  EXPECT_THAT(long_piece.error().message(), testing::AllOf(HasSubstr("pieces"), HasSubstr("offset 2")));
  ModelWriter no_unknown;
  no_unknown.Piece("a", 0);
  EXPECT_FALSE(ParseSentencePieceModel(no_unknown.Finish(2, true, true, true)));
  ModelWriter odd_kind;
  odd_kind.Piece("<unk>", 0, ModelWriter::kUnknown);
  const auto word_model = ParseSentencePieceModel(odd_kind.Finish(3, true, true, true));
  ASSERT_FALSE(word_model);
  EXPECT_EQ(word_model.error().code(), Code::kUnsupported);
}

TEST(CharsMap, NothingLeadsOutOfTheTable) {
  EXPECT_FALSE(CharsMap::FromBytes("abc"));
  EXPECT_FALSE(CharsMap::FromBytes(std::string("\xFF\xFF\xFF\xFF", 4) + "abcd"));
  EXPECT_FALSE(CharsMap::FromBase64("*"));
  // A trie whose units all point far away.
  std::string bytes("\x10\x00\x00\x00", 4);
  bytes += std::string(16, '\xFF');
  const auto map = CharsMap::FromBytes(bytes);
  ASSERT_TRUE(map);
  size_t length = 0;
  std::string_view replacement;
  for (int c = 1; c < 256; ++c) {
    EXPECT_FALSE(map->FindLongest(std::string(3, static_cast<char>(c)), length, replacement));
  }
}

}  // namespace
}  // namespace ingot::tokenizer
