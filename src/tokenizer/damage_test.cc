// Damaged files give an error or a tokenizer that works, never a crash or a hang. The fuzz targets extend this.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <random>

#include "base/env.h"
#include "base/test_cpu_time.h"
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

// A tenth of what INGOT_NIGHTLY=1 asks for.
int Scaled(int nightly) { return GetEnv("INGOT_NIGHTLY") ? nightly : nightly / 10; }

// Calls try_one with damaged copies; damage(good, random) says how.
template <typename DamageFn, typename Try>
void ManyDamaged(const std::string& good, DamageFn damage, Try try_one) {
  std::mt19937 random(11);
  const int count = Scaled(10'000);
  for (int i = 0; i < count; ++i) {
    const double begin = CpuSeconds();
    try_one(damage(good, random));
    ASSERT_LT(CpuSeconds() - begin, 1.0) << i;
  }
}

// A value of the document becomes another one, of any kind, or goes.
std::string DamageJson(const std::string& good, std::mt19937& random) {
  boost::json::value root = boost::json::parse(good);
  boost::json::value* node = &root;
  boost::json::value* parent = nullptr;
  std::string key;
  for (int depth = static_cast<int>(random() % 6); depth >= 0; --depth) {
    if (node->is_object() && !node->get_object().empty()) {
      parent = node;
      auto& member = *(node->get_object().begin() + static_cast<std::ptrdiff_t>(random() % node->get_object().size()));
      key = std::string(member.key());
      node = &member.value();
    } else if (node->is_array() && !node->get_array().empty()) {
      parent = nullptr;
      node = &node->get_array()[random() % node->get_array().size()];
    }
  }
  switch (random() % 8) {
    case 0:
      if (parent != nullptr) parent->get_object().erase(key);
      break;
    case 1:
      *node = nullptr;
      break;
    case 2:
      *node = static_cast<int64_t>(random()) - (int64_t{1} << 31);
      break;
    case 3:
      *node = 1e308;
      break;
    case 4:
      *node = std::string(random() % 300, static_cast<char>('!' + random() % 90));
      break;
    case 5:
      *node = boost::json::array{*node, *node};
      break;
    case 6:
      *node = boost::json::object{{"type", "Split"}, {"pattern", *node}};
      break;
    default:
      *node = random() % 2 == 0;
      break;
  }
  return boost::json::serialize(root);
}

TEST(Damage, TokenizerJson) {
  JsonParts parts{.merges = {{"a", "b"}, {"ab", "c"}}};
  parts.normalizer =
      R"({"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Replace","pattern":{"Regex":"x+"},"content":"y"}]})";
  parts.pre_tokenizer =
      R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t)|\\p{L}+|[^\\s\\p{N}]{1,3}"},)"
      R"("behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":true,"use_regex":true}]})";
  const auto try_one = [](std::string bytes) {
    Vocabulary vocabulary;
    vocabulary.tokenizer_json = std::move(bytes);
    TryVocabulary(vocabulary);
  };
  ManyDamaged(MakeTokenizerJson(parts), Damage, try_one);
  ManyDamaged(MakeTokenizerJson(parts), DamageJson, try_one);
}

TEST(Damage, SentencePiece) {
  for (const int kind : {1, 2}) {
    ModelWriter writer;
    writer.Piece("<unk>", 0, ModelWriter::kUnknown)
        .Piece("<s>", 0, ModelWriter::kControl)
        .Piece("▁a", -1)
        .Piece("ab", -2, ModelWriter::kUnused);
    writer.Piece("word", 0, ModelWriter::kUserDefined).AllBytes();
    ManyDamaged(writer.Finish(kind, true, true, true), Damage, [](std::string bytes) {
      Vocabulary vocabulary;
      vocabulary.sentencepiece_model = std::move(bytes);
      TryVocabulary(vocabulary);
    });
  }
}

TEST(Damage, GgufVocabulary) {
  std::mt19937 random(13);
  for (int i = 0; i < Scaled(20'000); ++i) {
    std::string bytes(random() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    TryVocabulary(GgufFromBytes(bytes));
  }
}

}  // namespace
}  // namespace ingot::tokenizer
