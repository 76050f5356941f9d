#include "tokenizer/sentencepiece_model.h"

#include <cmath>
#include <cstring>

#include "text/utf8.h"

namespace ingot::tokenizer {
namespace {

constexpr size_t kMaxPieces = size_t{1} << 22;
constexpr size_t kMaxPieceBytes = 4096;

// One field of a message: its number, and its value as a number or as bytes.
struct Field {
  uint32_t number = 0;
  enum { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 } wire = kVarint;
  uint64_t value = 0;
  std::string_view bytes;

  float AsFloat() const {
    const auto bits = static_cast<uint32_t>(value);
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
  }
};

// Reads a message's fields in order. `base` is where the message begins in the file, for errors.
class MessageReader {
 public:
  MessageReader(std::string_view bytes, size_t base, const char* name) : bytes_(bytes), base_(base), name_(name) {}

  // False at the end of the message.
  Result<bool> Next(Field& field) {
    if (at_ == bytes_.size()) return false;
    field_at_ = at_;
    uint64_t key = 0;
    INGOT_RETURN_IF_ERROR(Varint(key));
    field.number = static_cast<uint32_t>(key >> 3);
    field.value = 0;
    field.bytes = {};
    if (key >> 3 == 0 || key >> 3 > 0x1FFFFFFF) return Bad("field number");
    switch (key & 7) {
      case 0:
        field.wire = Field::kVarint;
        INGOT_RETURN_IF_ERROR(Varint(field.value));
        return true;
      case 1:
      case 5: {
        const size_t width = (key & 7) == 1 ? 8 : 4;
        field.wire = width == 8 ? Field::kFixed64 : Field::kFixed32;
        if (bytes_.size() - at_ < width) return Bad("number");
        std::memcpy(&field.value, bytes_.data() + at_, width);
        at_ += width;
        return true;
      }
      case 2: {
        field.wire = Field::kBytes;
        uint64_t length = 0;
        INGOT_RETURN_IF_ERROR(Varint(length));
        if (length > bytes_.size() - at_) return Bad("length");
        field.bytes = bytes_.substr(at_, length);
        at_ += length;
        return true;
      }
      default:
        return Bad("wire type");
    }
  }
  // Where the bytes of the last field begin in the file.
  size_t OffsetOf(const Field& field) const { return base_ + static_cast<size_t>(field.bytes.data() - bytes_.data()); }
  Error Bad(const char* what) const {
    return Corrupt("{}: a field's {} is impossible at offset {}", name_, what, base_ + field_at_);
  }

 private:
  Status Varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) break;
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return {};
    }
    return Bad("number");
  }

  std::string_view bytes_;
  size_t base_;
  const char* name_;
  size_t at_ = 0, field_at_ = 0;
};

Status ParsePiece(std::string_view bytes, size_t base, SentencePieceModel& model) {
  MessageReader reader(bytes, base, "pieces");
  std::string piece;
  float score = 0;
  uint64_t type = 1;
  Field field;
  while (true) {
    INGOT_ASSIGN_OR_RETURN(const bool more, reader.Next(field));
    if (!more) break;
    if (field.number == 1 && field.wire == Field::kBytes) piece = field.bytes;
    if (field.number == 2 && field.wire == Field::kFixed32) score = field.AsFloat();
    if (field.number == 3 && field.wire == Field::kVarint) type = field.value;
  }
  const size_t id = model.pieces.size();
  if (id >= kMaxPieces) return Unsupported("more than {} pieces", kMaxPieces);
  if (type < 1 || type > 6) return Corrupt("pieces[{}].type is {}, not in 1…6, at offset {}", id, type, base);
  if (piece.size() > kMaxPieceBytes)
    return Corrupt("pieces[{}].piece has {} bytes at offset {}", id, piece.size(), base);
  if (!IsValidUtf8(piece)) return Corrupt("pieces[{}].piece is not UTF-8 at offset {}", id, base);
  if (!std::isfinite(score)) return Corrupt("pieces[{}].score is {} at offset {}", id, score, base);
  model.pieces.push_back(std::move(piece));
  model.scores.push_back(score);
  model.types.push_back(static_cast<PieceType>(type));
  return {};
}

Status ParseTrainerSpec(std::string_view bytes, size_t base, SentencePieceModel& model) {
  MessageReader reader(bytes, base, "trainer_spec");
  Field field;
  while (true) {
    INGOT_ASSIGN_OR_RETURN(const bool more, reader.Next(field));
    if (!more) return {};
    if (field.wire != Field::kVarint) continue;
    const auto id = static_cast<int32_t>(static_cast<int64_t>(field.value));
    switch (field.number) {
      case 3:
        if (field.value != 1 && field.value != 2)
          return Unsupported("trainer_spec.model_type {}: neither unigram nor BPE", field.value);
        model.kind = static_cast<SentencePieceModel::Kind>(field.value);
        break;
      case 24:
        model.whitespace_as_suffix = field.value != 0;
        break;
      case 35:
        model.byte_fallback = field.value != 0;
        break;
      case 40:
        model.unk_id = id;
        break;
      case 41:
        model.bos_id = id;
        break;
      case 42:
        model.eos_id = id;
        break;
      default:
        break;
    }
  }
}

Status ParseNormalizerSpec(std::string_view bytes, size_t base, SentencePieceModel& model) {
  MessageReader reader(bytes, base, "normalizer_spec");
  Field field;
  while (true) {
    INGOT_ASSIGN_OR_RETURN(const bool more, reader.Next(field));
    if (!more) return {};
    if (field.number == 2 && field.wire == Field::kBytes) model.charsmap = field.bytes;
    if (field.wire != Field::kVarint) continue;
    if (field.number == 3) model.add_dummy_prefix = field.value != 0;
    if (field.number == 4) model.remove_extra_whitespaces = field.value != 0;
    if (field.number == 5) model.escape_whitespaces = field.value != 0;
  }
}

}  // namespace

Result<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes) {
  SentencePieceModel model;
  MessageReader reader(bytes, 0, "model");
  Field field;
  while (true) {
    INGOT_ASSIGN_OR_RETURN(const bool more, reader.Next(field));
    if (!more) break;
    if (field.wire != Field::kBytes) continue;
    const size_t offset = reader.OffsetOf(field);
    if (field.number == 1) INGOT_RETURN_IF_ERROR(ParsePiece(field.bytes, offset, model));
    if (field.number == 2) INGOT_RETURN_IF_ERROR(ParseTrainerSpec(field.bytes, offset, model));
    if (field.number == 3) INGOT_RETURN_IF_ERROR(ParseNormalizerSpec(field.bytes, offset, model));
  }
  if (model.pieces.empty()) return Corrupt("model: no pieces");
  // The one piece of type unknown is what counts, whatever trainer_spec says.
  model.unk_id = -1;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    if (model.types[id] == PieceType::kUnknown) model.unk_id = static_cast<int32_t>(id);
  }
  if (model.unk_id < 0) return Corrupt("model: no piece of type unknown");
  return model;
}

}  // namespace ingot::tokenizer
