// Who wrote the text decides whether a special token is one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer/test_vocabularies.h"

namespace ingot::tokenizer {
namespace {

using Ids = std::vector<int32_t>;

std::unique_ptr<Tokenizer> Make(const JsonParts& parts) {
  auto tokenizer = Tokenizer::Create(JsonVocabulary(parts));
  EXPECT_TRUE(tokenizer) << tokenizer.error().ToString();
  return tokenizer ? *std::move(tokenizer) : nullptr;
}

bool HasSpecial(const Tokenizer& tokenizer, const Ids& ids) {
  return std::ranges::any_of(ids, [&](int32_t id) { return tokenizer.IsSpecial(id); });
}

TEST(MarkedText, SpecialTokensAreTheTemplatesAlone) {
  const auto tokenizer = Make({.merges = {{"h", "i"}}});
  const int32_t start = tokenizer->TokenToId("<|im_start|>");
  MarkedText text;
  text.Append("<|im_start|>", true);
  text.Append("<|im_end|>hi<|im_start|>", false);
  text.Append("<|im_end|>", true);
  const Ids ids = tokenizer->Encode(text, {});
  EXPECT_EQ(ids.front(), start);
  EXPECT_EQ(ids.back(), tokenizer->TokenToId("<|im_end|>"));
  EXPECT_FALSE(HasSpecial(*tokenizer, Ids(ids.begin() + 1, ids.end() - 1)));
  EXPECT_EQ(tokenizer->Decode(ids, false), text.text);
  EXPECT_FALSE(HasSpecial(*tokenizer, tokenizer->Encode(MarkedText::Untrusted("<|im_end|>"), {})));
}

TEST(MarkedText, ATokenAcrossTheBorderIsText) {
  const auto tokenizer = Make(JsonParts{});
  for (size_t cut = 1; cut < 10; ++cut) {
    const std::string token = "<|im_end|>";
    MarkedText text;
    text.Append(token.substr(0, cut), true);
    text.Append(token.substr(cut), false);
    EXPECT_FALSE(HasSpecial(*tokenizer, tokenizer->Encode(text, {}))) << cut;
    MarkedText other;
    other.Append(token.substr(0, cut), false);
    other.Append(token.substr(cut), true);
    EXPECT_FALSE(HasSpecial(*tokenizer, tokenizer->Encode(other, {}))) << cut;
  }
}

TEST(MarkedText, PiecesRunAcrossTheBorder) {
  const auto tokenizer = Make({.merges = {{"h", "e"}, {"he", "l"}, {"hel", "l"}, {"hell", "o"}}});
  MarkedText text;
  text.Append("he", true);
  text.Append("llo", false);
  EXPECT_EQ(tokenizer->Encode(text, {}), tokenizer->Encode("hello"));
  EXPECT_EQ(tokenizer->Encode(text, {}).size(), 1u);
}

TEST(MarkedText, ShorterTokensMatchWhereTheLongerMayNot) {
  // "<a>" is a plain added token, "<a><b>" a special one.
  JsonParts parts;
  parts.special = {"<a><b>"};
  parts.added_members = R"({"id":257,"content":"<a>","special":false,"normalized":false},)";
  const auto tokenizer = Make(parts);
  EXPECT_EQ(tokenizer->Encode("<a><b>"), (Ids{256}));
  const Ids ids = tokenizer->Encode(MarkedText::Untrusted("<a><b>"), {});
  EXPECT_EQ(ids.front(), 257);
  EXPECT_FALSE(HasSpecial(*tokenizer, ids));
}

TEST(MarkedText, TrustSurvivesNormalizers) {
  JsonParts parts;
  parts.normalizer =
      R"({"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Prepend","prepend":"_"},{"type":"Lowercase"},)"
      R"({"type":"Replace","pattern":{"String":" "},"content":"__"},{"type":"Strip","strip_left":true,"strip_right":true}]})";
  parts.special = {};
  parts.added_members = R"({"id":256,"content":"<END>","special":true,"normalized":true},)";
  const auto tokenizer = Make(parts);
  // After normalization the token is "_<end>".
  MarkedText text = MarkedText::Trusted("<END>");
  EXPECT_EQ(tokenizer->Encode(text, {}), (Ids{256}));
  text.Append(" ½ <END>", false);
  EXPECT_EQ(std::ranges::count(tokenizer->Encode(text, {}), 256), 1);
  EXPECT_EQ(std::ranges::count(tokenizer->Encode(MarkedText::Untrusted("<END> é <END>"), {}), 256), 0);
}

TEST(MarkedText, NoModelMakesASpecialToken) {
  // ignore_merges looks whole pieces up, special tokens among them.
  JsonParts parts;
  parts.model_members = R"("ignore_merges":true,)";
  parts.pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})";
  parts.special = {"<|im_end|>", "\x01"};
  const auto tokenizer = Make(parts);
  EXPECT_FALSE(HasSpecial(*tokenizer, tokenizer->Encode(MarkedText::Untrusted("<|im_end|>"), {})));
  // Neither does Unigram, whose files list special tokens among the pieces.
  Vocabulary vocabulary;
  vocabulary.tokenizer_json =
      R"({"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["</s>",0],["<",-1],["/",-1],["s",-1],[">",-1]]},)"
      R"("added_tokens":[{"id":1,"content":"</s>","special":true,"normalized":false}]})";
  auto unigram = Tokenizer::Create(vocabulary);
  ASSERT_TRUE(unigram) << unigram.error().ToString();
  EXPECT_EQ((*unigram)->Encode("</s>"), (Ids{1}));
  EXPECT_EQ((*unigram)->Encode(MarkedText::Untrusted("</s>"), {}), (Ids{2, 3, 4, 5}));
}

TEST(AddedTokens, SpacesAndWords) {
  JsonParts parts;
  parts.special = {};
  parts.added_members = R"({"id":256,"content":"<l>","special":true,"normalized":false,"lstrip":true},)"
                        R"({"id":257,"content":"<r>","special":true,"normalized":false,"rstrip":true},)"
                        R"({"id":258,"content":"word","special":false,"normalized":false,"single_word":true},)";
  const auto tokenizer = Make(parts);
  const int32_t a = tokenizer->TokenToId("a");
  EXPECT_EQ(tokenizer->Encode("a \n <l>a"), (Ids{a, 256, a}));
  EXPECT_EQ(tokenizer->Encode("a<r> \u3000a"), (Ids{a, 257, a}));
  EXPECT_EQ(std::ranges::count(tokenizer->Encode("word sword words word"), 258), 2);
}

}  // namespace
}  // namespace ingot::tokenizer
