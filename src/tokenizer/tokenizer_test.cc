#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tokenizer/byte_level.h"
#include "tokenizer/test_vocabularies.h"

namespace ingot::tokenizer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

std::unique_ptr<Tokenizer> Make(const Vocabulary& vocabulary) {
  auto tokenizer = Tokenizer::Create(vocabulary);
  EXPECT_TRUE(tokenizer) << tokenizer.error().ToString();
  return tokenizer ? *std::move(tokenizer) : nullptr;
}
std::unique_ptr<Tokenizer> Make(const JsonParts& parts) { return Make(JsonVocabulary(parts)); }

// The special tokens come after 256 bytes and the merges.
constexpr int32_t kBytes = 256;

TEST(Tokenizer, MergesByRankThenFromTheLeft) {
  const auto tokenizer = Make({.merges = {{"a", "a"}, {"aa", "a"}, {"b", "c"}, {"a", "b"}}});
  EXPECT_THAT(tokenizer->Encode("aaaaa"), ElementsAre(kBytes, kBytes + 1));
  EXPECT_THAT(tokenizer->Encode("aaa"), ElementsAre(kBytes + 1));
  EXPECT_THAT(tokenizer->Encode("abc"), ElementsAre(tokenizer->TokenToId("a"), kBytes + 2));
  EXPECT_EQ(tokenizer->vocab_size(), kBytes + 4 + 4);
  EXPECT_EQ(tokenizer->IdToToken(kBytes), "aa");
  EXPECT_EQ(tokenizer->IdToToken(99999), "");
  EXPECT_EQ(tokenizer->TokenToId("zz"), -1);
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
}

TEST(Tokenizer, ShortAndLongWordsMergeAlike) {
  // The heap (long words) and the scan (short ones) must give the same; a word is cut to compare them.
  JsonParts parts;
  parts.pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})";
  std::mt19937 random(5);
  std::vector<std::string> known = {"a", "b", "c"};
  while (parts.merges.size() < 40) {
    const std::string left = known[random() % known.size()], right = known[random() % known.size()];
    if (left.size() + right.size() > 6 || std::ranges::find(known, left + right) != known.end()) continue;
    parts.merges.emplace_back(left, right);
    known.push_back(left + right);
  }
  const auto tokenizer = Make(parts);
  for (int i = 0; i < 500; ++i) {
    std::string word;
    for (int n = 0; n < 40; ++n) word += static_cast<char>('a' + random() % 3);
    // "!" merges with nothing, so a long word of such words is their concatenation.
    const Ids alone = tokenizer->Encode(word);
    Ids expected = alone;
    expected.push_back(tokenizer->TokenToId("!"));
    expected.insert(expected.end(), alone.begin(), alone.end());
    ASSERT_EQ(tokenizer->Encode(word + "!" + word), expected) << word;
    ASSERT_EQ(tokenizer->Decode(expected), word + "!" + word);
  }
}

TEST(Tokenizer, AMillionLettersInLinearTime) {
  JsonParts parts;
  for (size_t n = 1; n <= 64; n *= 2) parts.merges.emplace_back(std::string(n, 'a'), std::string(n, 'a'));
  const auto tokenizer = Make(parts);
  constexpr size_t kLetters = 1'280'000;  // quadratic time would take hours: the test's time-out
  EXPECT_EQ(tokenizer->Encode(std::string(kLetters, 'a')).size(), kLetters / 128);
}

TEST(Tokenizer, IgnoreMergesTakesWholeWords) {
  JsonParts parts{.merges = {{"l", "o"}, {"h", "e"}, {"he", "l"}, {"hel", "lo"}}};
  EXPECT_EQ(Make(parts)->Encode("hello").size(), 1u);
  parts.merges = {{"e", "l"}, {"l", "o"}, {"h", "e"}, {"he", "l"}, {"hel", "lo"}};
  EXPECT_GT(Make(parts)->Encode("hello").size(), 1u);
  parts.model_members = R"("ignore_merges":true,)";
  EXPECT_EQ(Make(parts)->Encode("hello").size(), 1u);
}

TEST(Tokenizer, MergesMayBePairs) {
  JsonParts parts{.merges = {{"a", "b"}}};
  std::string json = MakeTokenizerJson(parts);
  json.replace(json.find(R"(["a b"])"), 7, R"([["a","b"]])");
  Vocabulary vocabulary;
  vocabulary.tokenizer_json = json;
  EXPECT_THAT(Make(vocabulary)->Encode("ab"), ElementsAre(kBytes));
}

// As in the library tokenizers.
TEST(Tokenizer, AMergeThatIsListedTwiceHasItsLastRank) {
  JsonParts parts{.merges = {{"a", "b"}, {"b", "c"}}};
  EXPECT_THAT(Make(parts)->Encode("abc"), ElementsAre(kBytes, Make(parts)->TokenToId("c")));
  std::string json = MakeTokenizerJson(parts);
  json.replace(json.find(R"("b c"])"), 6, R"("b c","a b"])");
  Vocabulary vocabulary;
  vocabulary.tokenizer_json = json;
  EXPECT_THAT(Make(vocabulary)->Encode("abc"), ElementsAre(Make(parts)->TokenToId("a"), kBytes + 1));
}

TEST(Tokenizer, InvalidUtf8BecomesItsBytes) {
  const auto tokenizer = Make(JsonParts{});
  const std::string bytes = "a\xFF\xC3 \xE4\xBDz";
  const Ids ids = tokenizer->Encode(bytes);
  EXPECT_EQ(ids.size(), bytes.size());
  std::string joined;
  for (const int32_t id : ids) joined += tokenizer->TokenBytes(id);
  EXPECT_EQ(joined, bytes);
  // A normalizer needs characters: U+FFFD then.
  EXPECT_EQ(Make({.normalizer = R"({"type":"NFC"})"})->Decode(tokenizer->Encode("\xFF")), "\uFFFD");
}

TEST(Tokenizer, TemplateAndBos) {
  JsonParts parts;
  parts.post_processor =
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},)"
      R"({"SpecialToken":{"id":"</s>","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[256],"tokens":["<s>"]},)"
      R"("</s>":{"id":"</s>","ids":[257],"tokens":["</s>"]}}})";
  Vocabulary vocabulary = JsonVocabulary(parts);
  vocabulary.tokenizer_config_json = R"({"bos_token":"<s>","eos_token":{"content":"</s>"}})";
  const auto tokenizer = Make(vocabulary);
  const int32_t a = tokenizer->TokenToId("a");
  EXPECT_THAT(tokenizer->Encode("a"), ElementsAre(256, a, 257));
  EXPECT_THAT(tokenizer->Encode("a", {.add_special_tokens = false}), ElementsAre(a));
  EXPECT_THAT(tokenizer->Encode("<s>a"), ElementsAre(256, a, 257));  // not doubled
  EXPECT_THAT(tokenizer->Encode(""), ElementsAre(256, 257));
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->bos_id(), 256);
  // The configuration overrides the file, as the Python classes do.
  vocabulary.tokenizer_config_json =
      R"({"bos_token":"<s>","eos_token":"</s>","add_bos_token":false,"add_eos_token":false})";
  EXPECT_THAT(Make(vocabulary)->Encode("a"), ElementsAre(a));
  EXPECT_FALSE(Make(vocabulary)->adds_bos());
  vocabulary = JsonVocabulary({});
  vocabulary.tokenizer_config_json = R"({"bos_token":"<s>","add_bos_token":true})";
  EXPECT_THAT(Make(vocabulary)->Encode("a"), ElementsAre(256, a));
}

// As transformers adds them: by the id that the vocabulary has for them, or the next.
TEST(Tokenizer, TokensOfTheConfigurationAreAdded) {
  Vocabulary vocabulary = JsonVocabulary({.merges = {{"h", "i"}}, .special = {"<s>"}});
  const int32_t next = Make(vocabulary)->vocab_size();
  EXPECT_EQ(next, 258);
  vocabulary.tokenizer_config_json = R"({"added_tokens_decoder":{"258":{"content":"<|late|>","special":true},)"
                                     R"("300":{"content":"<later>"},"257":{"content":"<s>","special":true}}})";
  testing::internal::CaptureStderr();
  auto tokenizer = Make(vocabulary);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("added_tokens_decoder.300: \"<later>\" gets the id 259, as in transformers"));
  const int32_t h = tokenizer->TokenToId("h");
  EXPECT_THAT(tokenizer->Encode("h<|late|>h<later>"), ElementsAre(h, 258, h, 259));
  EXPECT_TRUE(tokenizer->IsSpecial(258));
  EXPECT_FALSE(tokenizer->IsSpecial(259));
  EXPECT_EQ(tokenizer->Encode(MarkedText::Untrusted("<|late|>"), {}).size(), 8u);
  EXPECT_EQ(tokenizer->Decode(Ids{h, 258, 259}), "h<later>");
  // A token of the vocabulary that a name makes special.
  vocabulary.tokenizer_config_json = R"({"additional_special_tokens":["hi","unknown"],"pad_token":{"content":"h"}})";
  tokenizer = Make(vocabulary);
  EXPECT_EQ(tokenizer->vocab_size(), 258);
  EXPECT_TRUE(tokenizer->IsSpecial(256) && tokenizer->IsSpecial(h));
}

// What tokenizers 0.23 does: an added token that is matched after normalization is decoded as it is normalized.
TEST(Tokenizer, NormalizedAddedTokensAreDecodedAsTheyAreNormalized) {
  JsonParts parts;
  parts.added_members =
      R"({"id":260,"content":"cccc","single_word":false,"lstrip":true,"rstrip":true,"normalized":true,"special":false},)";
  parts.normalizer = R"({"type":"Prepend","prepend":"▁"})";
  parts.pre_tokenizer = "null";
  parts.decoder = R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},)"
                  R"({"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})";
  const auto tokenizer = Make(parts);
  const int32_t w = tokenizer->TokenToId("w");
  EXPECT_EQ(tokenizer->Decode(Ids{w, 260}), "w cccc");
  EXPECT_EQ(tokenizer->Decode(Ids{260, w}), "ccccw");
  EXPECT_EQ(tokenizer->TokenToId("cccc"), 260);
}

TEST(Tokenizer, EosIdsAreTheUnion) {
  Vocabulary vocabulary = JsonVocabulary({.special = {"<s>", "</s>", "<|im_end|>", "<|eot_id|>", "<stop>", "<other>"}});
  vocabulary.eos_ids = {260, 260, -1, 99999};
  vocabulary.tokenizer_config_json = R"({"eos_token":"</s>"})";
  EXPECT_THAT(Make(vocabulary)->eos_ids(), ElementsAre(257, 258, 259, 260));
  // <|endoftext|> as plain text ends nothing; <|end|> ends a part only where messages have parts.
  vocabulary = JsonVocabulary({.special = {"<|end|>", "<|channel|>"}});
  EXPECT_TRUE(Make(vocabulary)->eos_ids().empty());
  vocabulary = JsonVocabulary({.special = {"<|end|>"}});
  EXPECT_THAT(Make(vocabulary)->eos_ids(), ElementsAre(256));
}

TEST(Tokenizer, SpecialTokensAreSkippedOnDemand) {
  const auto tokenizer = Make(JsonParts{});
  const Ids ids = tokenizer->Encode("<|im_start|>hi<|im_end|>");
  EXPECT_EQ(ids.size(), 4u);
  EXPECT_EQ(tokenizer->Decode(ids), "hi");
  EXPECT_EQ(tokenizer->Decode(ids, false), "<|im_start|>hi<|im_end|>");
  EXPECT_TRUE(tokenizer->IsSpecial(ids[0]));
  EXPECT_FALSE(tokenizer->IsSpecial(ids[1]));
  EXPECT_FALSE(tokenizer->IsSpecial(-5));
}

TEST(Tokenizer, PiecesNeverEndAmidACharacter) {
  const auto tokenizer = Make({.merges = {{"\xE4", "\xBD"}}});
  const std::string text = "a你é😀\u0301z";
  const Ids ids = tokenizer->Encode(text);
  IncrementalDecoder decoder(*tokenizer, true);
  std::string joined;
  for (const int32_t id : ids) {
    const std::string piece = decoder.Push(id);
    EXPECT_EQ(piece.find("\uFFFD"), std::string::npos);
    joined += piece;
  }
  EXPECT_EQ(decoder.Finish(), "");
  EXPECT_EQ(joined, text);
}

TEST(Tokenizer, PiecesJoinToTheWholeForAnyIds) {
  const auto tokenizer = Make({.merges = {{"\xE4", "\xBD"}, {"\xF0", "\x9F"}, {"\x9F", "\x98"}}});
  std::mt19937 random(3);
  for (int i = 0; i < 3000; ++i) {
    Ids ids;
    for (int n = 0; n < 12; ++n) ids.push_back(static_cast<int32_t>(random() % 270) - 3);
    std::string bytes;
    for (const int32_t id : ids) bytes += tokenizer->IsSpecial(id) ? "" : tokenizer->TokenBytes(id);
    IncrementalDecoder decoder(*tokenizer, true);
    std::string joined;
    for (const int32_t id : ids) joined += decoder.Push(id);
    joined += decoder.Finish();
    ASSERT_EQ(joined, tokenizer->Decode(ids));
  }
}

TEST(Tokenizer, AnyThreadAtOnce) {
  const auto tokenizer = Make({.merges = {{"t", "h"}, {"th", "e"}, {" ", "the"}}});
  const auto other = Make({.merges = {{"h", "e"}}});  // shares the threads' caches
  const std::string text = "the quick the lazy the them there";
  const Ids expected = tokenizer->Encode(text), expected_other = other->Encode(text);
  EXPECT_NE(expected, expected_other);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        EXPECT_EQ(tokenizer->Encode(text), expected);
        EXPECT_EQ(other->Encode(text), expected_other);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Tokenizer, RefusesWhatItDoesNotKnowByName) {
  const auto error = [](const JsonParts& parts) {
    const auto tokenizer = Tokenizer::Create(JsonVocabulary(parts));
    return tokenizer ? "loaded" : tokenizer.error().ToString();
  };
  EXPECT_THAT(error({.normalizer = R"({"type":"Nmt"})"}), HasSubstr("normalizer Nmt"));
  EXPECT_THAT(error({.pre_tokenizer = R"({"type":"UnicodeScripts"})"}), HasSubstr("pre_tokenizer UnicodeScripts"));
  EXPECT_THAT(error({.post_processor = R"({"type":"Other"})"}), HasSubstr("post_processor Other"));
  EXPECT_THAT(error({.decoder = R"({"type":"WordPiece"})"}), HasSubstr("decoder WordPiece"));
  EXPECT_THAT(error({.model_members = R"("end_of_word_suffix":"</w>",)"}), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(error({.pre_tokenizer = R"({"type":"Split","pattern":{"Regex":"\\p{Klingon}"},"behavior":"Isolated"})"}),
              HasSubstr("Klingon"));
  EXPECT_THAT(error({.pre_tokenizer = R"({"type":"Split","pattern":{"String":"a"},"behavior":"Odd"})"}),
              HasSubstr("Odd"));
  Vocabulary word_piece;
  word_piece.source = "there";
  word_piece.tokenizer_json = R"({"model":{"type":"WordPiece","vocab":{}}})";
  const auto tokenizer = Tokenizer::Create(word_piece);
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().code(), Code::kUnsupported);
  EXPECT_THAT(tokenizer.error().message(), testing::AllOf(HasSubstr("there"), HasSubstr("WordPiece")));
  EXPECT_FALSE(Tokenizer::Create({}));
}

TEST(Tokenizer, RefusesImpossibleFiles) {
  const auto error = [](std::string json) {
    Vocabulary vocabulary;
    vocabulary.tokenizer_json = std::move(json);
    const auto tokenizer = Tokenizer::Create(vocabulary);
    return tokenizer ? "loaded" : tokenizer.error().ToString();
  };
  EXPECT_THAT(error("{"), HasSubstr("tokenizer.json"));
  EXPECT_THAT(error("[]"), HasSubstr("tokenizer.json"));
  EXPECT_THAT(error(R"({"model":{"type":"BPE","vocab":{"a":4000000000},"merges":[]}})"), HasSubstr("4000000000"));
  EXPECT_THAT(error(R"({"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}})"), HasSubstr("-1"));
  EXPECT_THAT(error(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}})"), HasSubstr("merges[0]"));
  EXPECT_THAT(error(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":["a"]}})"), HasSubstr("merges[0]"));
  EXPECT_THAT(
      error(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"added_tokens":[{"id":2000000000,"content":"x"}]})"),
      HasSubstr("2000000000"));
  EXPECT_THAT(error(R"({"model":{"type":"Unigram","vocab":[["a",0]],"unk_id":7}})"), HasSubstr("unk_id"));
}

TEST(ByteLevel, SpellingIsABijection) {
  std::string all;
  for (int b = 0; b < 256; ++b) all.push_back(static_cast<char>(b));
  const std::string spelling = BytesToSpelling(all);
  EXPECT_EQ(SpellingToBytes(spelling), all);
  EXPECT_EQ(BytesToSpelling(" a\n"), "ĠaĊ");
  EXPECT_EQ(SpellingToBytes("你"), std::nullopt);
}

}  // namespace
}  // namespace ingot::tokenizer
