// Small vocabularies for the tests.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/vocabulary.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/tokenizer.h"

namespace ingot::tokenizer {

// A byte-level BPE file: bytes are ids 0…255, then come the products of the merges, then the special tokens.
struct JsonParts {
  std::vector<std::pair<std::string, std::string>> merges;  // as bytes
  std::vector<std::string> special = {"<s>", "</s>", "<|im_start|>", "<|im_end|>"};
  std::string model_members;  // more members of "model"
  std::string added_members;  // more entries of "added_tokens", each with a comma behind it
  std::string normalizer = "null";
  std::string pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})";
  std::string post_processor = "null";
  std::string decoder = R"({"type":"ByteLevel"})";
};

inline std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(out, text);
  return out;
}

inline std::string MakeTokenizerJson(const JsonParts& parts) {
  std::string vocab, merges, added = parts.added_members;
  int id = 0;
  const auto token = [&](const std::string& spelling) {
    vocab += (id == 0 ? "" : ",") + Quoted(spelling) + ":" + std::to_string(id);
    ++id;
  };
  for (int b = 0; b < 256; ++b) token(BytesToSpelling(std::string(1, static_cast<char>(b))));
  for (const auto& [left, right] : parts.merges) {
    token(BytesToSpelling(left + right));
    merges += (merges.empty() ? "" : ",") + Quoted(BytesToSpelling(left) + " " + BytesToSpelling(right));
  }
  for (const std::string& content : parts.special) {
    added += R"({"id":)" + std::to_string(id++) + R"(,"content":)" + Quoted(content) +
             R"(,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},)";
  }
  if (!added.empty()) added.pop_back();
  return R"({"version":"1.0","added_tokens":[)" + added + R"(],"normalizer":)" + parts.normalizer +
         R"(,"pre_tokenizer":)" + parts.pre_tokenizer + R"(,"post_processor":)" + parts.post_processor +
         R"(,"decoder":)" + parts.decoder + R"(,"model":{"type":"BPE",)" + parts.model_members + R"("vocab":{)" +
         vocab + R"(},"merges":[)" + merges + "]}}";
}

inline Vocabulary JsonVocabulary(const JsonParts& parts) {
  Vocabulary vocabulary;
  vocabulary.tokenizer_json = MakeTokenizerJson(parts);
  return vocabulary;
}

// A tokenizer.model, written by hand.
class ModelWriter {
 public:
  enum Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  ModelWriter& Piece(std::string_view piece, float score, Type type = kNormal) {
    std::string message;
    Bytes(message, 1, piece);
    Tag(message, 2, 5);
    char bits[4];
    std::memcpy(bits, &score, 4);
    message.append(bits, 4);
    Number(message, 3, type);
    Bytes(out_, 1, message);
    return *this;
  }
  ModelWriter& AllBytes() {
    for (int b = 0; b < 256; ++b) Piece(fmt::format("<0x{:02X}>", b), 0, kByte);
    return *this;
  }
  std::string Finish(int model_type, bool byte_fallback, bool add_dummy_prefix, bool remove_extra_whitespaces) {
    std::string trainer, normalizer;
    Number(trainer, 3, static_cast<uint64_t>(model_type));
    Number(trainer, 35, byte_fallback);
    Bytes(out_, 2, trainer);
    Number(normalizer, 3, add_dummy_prefix);
    Number(normalizer, 4, remove_extra_whitespaces);
    Bytes(out_, 3, normalizer);
    return out_;
  }
  static void Varint(std::string& out, uint64_t value) {
    for (; value >= 128; value >>= 7) out.push_back(static_cast<char>(value | 128));
    out.push_back(static_cast<char>(value));
  }
  static void Tag(std::string& out, uint32_t field, uint32_t wire) { Varint(out, field << 3 | wire); }
  static void Number(std::string& out, uint32_t field, uint64_t value) {
    Tag(out, field, 0);
    Varint(out, value);
  }
  static void Bytes(std::string& out, uint32_t field, std::string_view bytes) {
    Tag(out, field, 2);
    Varint(out, bytes.size());
    out.append(bytes);
  }

 private:
  std::string out_;
};

}  // namespace ingot::tokenizer
