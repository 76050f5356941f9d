// The file that SentencePiece writes (tokenizer.model): a protobuf message, read without trusting any length.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace ingot::tokenizer {

enum class PieceType : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct SentencePieceModel {
  enum class Kind { kUnigram = 1, kBpe = 2 };
  Kind kind = Kind::kUnigram;
  std::vector<std::string> pieces;  // [vocab_size]
  std::vector<float> scores;        // [vocab_size]
  std::vector<PieceType> types;     // [vocab_size]
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  int32_t unk_id = 0, bos_id = 1, eos_id = 2;

  std::string charsmap;  // precompiled_charsmap
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

// kCorrupt names the field and the offset.
Result<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes);

}  // namespace ingot::tokenizer
