// Damaged files give an error or a tokenizer that works, never a crash or a hang. The fuzz targets go on from here.
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "tokenizer/fuzz_common.h"
#include "tokenizer/test_vocabularies.h"

namespace ingot::tokenizer {
namespace {

std::string Damage(std::string bytes, std::mt19937& random) {
  const size_t count = random() % 4 + 1;
  for (size_t i = 0; i < count && !bytes.empty(); ++i) {
    const size_t at = random() % bytes.size();
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes.erase(at, random() % 8);
        break;
      case 2:
        bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 16));
        break;
      case 3:
        bytes[at] = "{}[]\",:0-9e\xFF"[random() % 12];
        break;
      default:
        bytes.resize(random() % 64 == 0 ? at : bytes.size());
        break;
    }
  }
  return bytes;
}

template <typename Try>
void ManyDamaged(const std::string& good, int count, Try try_one) {
  std::mt19937 random(11);
  for (int i = 0; i < count; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    try_one(Damage(good, random));
    ASSERT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10)) << i;
  }
}

TEST(Damage, TokenizerJson) {
  JsonParts parts{.merges = {{"a", "b"}, {"ab", "c"}}};
  parts.normalizer =
      R"({"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Replace","pattern":{"Regex":"x+"},"content":"y"}]})";
  parts.pre_tokenizer =
      R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t)|\\p{L}+|[^\\s\\p{N}]{1,3}"},)"
      R"("behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":true,"use_regex":true}]})";
  ManyDamaged(MakeTokenizerJson(parts), 1500, [](std::string bytes) {
    Vocabulary vocabulary;
    vocabulary.tokenizer_json = std::move(bytes);
    TryVocabulary(vocabulary);
  });
}

TEST(Damage, SentencePiece) {
  for (const int kind : {1, 2}) {
    ModelWriter writer;
    writer.Piece("<unk>", 0, ModelWriter::kUnknown)
        .Piece("<s>", 0, ModelWriter::kControl)
        .Piece("▁a", -1)
        .Piece("ab", -2, ModelWriter::kUnused);
    writer.Piece("word", 0, ModelWriter::kUserDefined).AllBytes();
    ManyDamaged(writer.Finish(kind, true, true, true), 1500, [](std::string bytes) {
      Vocabulary vocabulary;
      vocabulary.sentencepiece_model = std::move(bytes);
      TryVocabulary(vocabulary);
    });
  }
}

TEST(Damage, GgufVocabulary) {
  std::mt19937 random(13);
  for (int i = 0; i < 3000; ++i) {
    std::string bytes(random() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    TryVocabulary(GgufFromBytes(bytes));
  }
}

}  // namespace
}  // namespace ingot::tokenizer
