#include "formats/gguf_metadata.h"

#include <cstring>
#include <limits>
#include <type_traits>

namespace ingot::formats {
namespace {

constexpr int kMaxArrayDepth = 4;
// A JSON element takes 24 bytes where the file has one; the vocabulary, which is larger, is kept apart.
constexpr uint64_t kMaxArrayElements = 1 << 22;
constexpr uint64_t kMaxStringBytes = 1 << 28;

size_t MinBytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
    case GgufType::kString:
      return 8;
    case GgufType::kArray:
      return 12;
  }
  return 1;
}

// A member that, when there, must be a non-negative integer.
Status ReadId(const JsonView& metadata, std::string_view key, std::optional<int64_t>* id) {
  const auto member = metadata.Find(key);
  if (!member) return {};
  INGOT_ASSIGN_OR_RETURN(const int64_t value, member->AsInt());
  if (value >= 0 && value != std::numeric_limits<uint32_t>::max()) *id = value;  // -1, in either width, says "none"
  return {};
}

Status ReadFlag(const JsonView& metadata, std::string_view key, std::optional<bool>* flag) {
  const auto member = metadata.Find(key);
  if (!member) return {};
  INGOT_ASSIGN_OR_RETURN(*flag, member->AsBool());
  return {};
}

}  // namespace

Status GgufMetadataReader::Read(uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) INGOT_RETURN_IF_ERROR(ReadPair());
  return {};
}

Status GgufMetadataReader::ReadPair() {
  const size_t at = reader_->offset();
  INGOT_ASSIGN_OR_RETURN(const std::string_view key, ReadString("metadata key"));
  if (key.size() > std::numeric_limits<uint16_t>::max()) {
    return Corrupt("{}: metadata key at offset {} has {} bytes, at most 65535 are allowed", reader_->file(), at,
                   key.size());
  }
  if (metadata_->contains(key))
    return Corrupt("{}: metadata key {} at offset {} is there twice", reader_->file(), key, at);
  INGOT_ASSIGN_OR_RETURN(const GgufType type, ReadType(key));
  if (type == GgufType::kArray) {
    INGOT_ASSIGN_OR_RETURN(const bool done, ReadVocabularyArray(key));
    if (done) return {};
  }
  INGOT_ASSIGN_OR_RETURN(boost::json::value value, ReadValue(type, key, 0));
  metadata_->emplace(key, std::move(value));
  return {};
}

Result<GgufType> GgufMetadataReader::ReadType(std::string_view field) {
  const size_t at = reader_->offset();
  INGOT_ASSIGN_OR_RETURN(const auto type, reader_->Read<uint32_t>(field));
  if (type > static_cast<uint32_t>(GgufType::kF64)) {
    return Corrupt("{}: {} at offset {} has type {}, the last one is 12", reader_->file(), field, at, type);
  }
  return static_cast<GgufType>(type);
}

Result<std::string_view> GgufMetadataReader::ReadString(std::string_view key) {
  const size_t at = reader_->offset();
  INGOT_ASSIGN_OR_RETURN(const auto size, reader_->ReadCount(1, key));
  if (size > kMaxStringBytes) {
    return Unsupported("{}: {} at offset {} is a string of {} bytes, at most {} are read", reader_->file(), key, at,
                       size, kMaxStringBytes);
  }
  return reader_->ReadText(size, key);
}

template <typename T>
Result<boost::json::value> GgufMetadataReader::ReadScalar(std::string_view key) {
  INGOT_ASSIGN_OR_RETURN(const T value, reader_->Read<T>(key));
  if constexpr (std::is_floating_point_v<T>) return boost::json::value(static_cast<double>(value));
  return boost::json::value(static_cast<int64_t>(value));  // as the parser of JSON makes them
}

Result<boost::json::value> GgufMetadataReader::ReadValue(GgufType type, std::string_view key, int depth) {
  switch (type) {
    case GgufType::kU8:
      return ReadScalar<uint8_t>(key);
    case GgufType::kI8:
      return ReadScalar<int8_t>(key);
    case GgufType::kU16:
      return ReadScalar<uint16_t>(key);
    case GgufType::kI16:
      return ReadScalar<int16_t>(key);
    case GgufType::kU32:
      return ReadScalar<uint32_t>(key);
    case GgufType::kI32:
      return ReadScalar<int32_t>(key);
    case GgufType::kI64:
      return ReadScalar<int64_t>(key);
    case GgufType::kF32:
      return ReadScalar<float>(key);
    case GgufType::kF64:
      return ReadScalar<double>(key);
    case GgufType::kU64: {
      INGOT_ASSIGN_OR_RETURN(const auto value, reader_->Read<uint64_t>(key));
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return boost::json::value(value);
      return boost::json::value(static_cast<int64_t>(value));
    }
    case GgufType::kBool: {
      const size_t at = reader_->offset();
      INGOT_ASSIGN_OR_RETURN(const auto value, reader_->Read<uint8_t>(key));
      if (value > 1) return Corrupt("{}: {} at offset {}: a boolean of {}", reader_->file(), key, at, value);
      return boost::json::value(value == 1);
    }
    case GgufType::kString: {
      INGOT_ASSIGN_OR_RETURN(const std::string_view value, ReadString(key));
      return boost::json::value(value);
    }
    case GgufType::kArray:
      return ReadArray(key, depth);
  }
  return Corrupt("{}: {} has type {}", reader_->file(), key, static_cast<uint32_t>(type));
}

Result<boost::json::value> GgufMetadataReader::ReadArray(std::string_view key, int depth) {
  const size_t at = reader_->offset();
  if (depth == kMaxArrayDepth) {
    return Corrupt("{}: {} at offset {}: arrays nest at most {} deep", reader_->file(), key, at, kMaxArrayDepth);
  }
  INGOT_ASSIGN_OR_RETURN(const GgufType type, ReadType(key));
  INGOT_ASSIGN_OR_RETURN(const uint64_t count, reader_->ReadCount(MinBytes(type), key));
  if (count > kMaxArrayElements - array_elements_) {
    return Unsupported("{}: {} at offset {}: {} elements; metadata arrays hold at most {} in all", reader_->file(), key,
                       at, count, kMaxArrayElements);
  }
  array_elements_ += count;
  boost::json::array array;
  array.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    INGOT_ASSIGN_OR_RETURN(boost::json::value value, ReadValue(type, key, depth + 1));
    array.push_back(std::move(value));
  }
  return boost::json::value(std::move(array));
}

Result<bool> GgufMetadataReader::ReadVocabularyArray(std::string_view key) {
  constexpr std::string_view kPrefix = "tokenizer.ggml.";
  if (!key.starts_with(kPrefix)) return false;
  const std::string_view field = key.substr(kPrefix.size());
  Status status;
  if (field == "tokens") {
    status = ReadStrings(key, &vocabulary_->tokens);
  } else if (field == "merges") {
    status = ReadStrings(key, &vocabulary_->merges);
  } else if (field == "scores") {
    status = ReadNumbers(key, GgufType::kF32, &vocabulary_->scores);
  } else if (field == "token_type") {
    status = ReadNumbers(key, GgufType::kI32, &vocabulary_->token_types);
  } else {
    return false;
  }
  INGOT_RETURN_IF_ERROR(status);
  return true;
}

Result<uint64_t> GgufMetadataReader::ReadArrayHeader(std::string_view key, GgufType expected) {
  const size_t at = reader_->offset();
  INGOT_ASSIGN_OR_RETURN(const GgufType type, ReadType(key));
  if (type != expected) {
    return Corrupt("{}: {} at offset {}: elements of type {}, expected {}", reader_->file(), key, at,
                   static_cast<uint32_t>(type), static_cast<uint32_t>(expected));
  }
  return reader_->ReadCount(MinBytes(type), key);
}

Status GgufMetadataReader::ReadStrings(std::string_view key, std::vector<std::string>* out) {
  if (!out->empty()) return Corrupt("{}: {} is there twice", reader_->file(), key);
  INGOT_ASSIGN_OR_RETURN(const uint64_t count, ReadArrayHeader(key, GgufType::kString));
  out->reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    INGOT_ASSIGN_OR_RETURN(const std::string_view text, ReadString(key));
    out->emplace_back(text);
  }
  return {};
}

template <typename T>
Status GgufMetadataReader::ReadNumbers(std::string_view key, GgufType type, std::vector<T>* out) {
  if (!out->empty()) return Corrupt("{}: {} is there twice", reader_->file(), key);
  INGOT_ASSIGN_OR_RETURN(const uint64_t count, ReadArrayHeader(key, type));
  INGOT_ASSIGN_OR_RETURN(const auto bytes, reader_->ReadBytes(count * sizeof(T), key));
  out->resize(count);
  if (count > 0) std::memcpy(out->data(), bytes.data(), bytes.size());
  return {};
}

Status FinishVocabulary(const JsonView& metadata, GgufVocabulary* vocabulary) {
  const size_t size = vocabulary->tokens.size();
  if (!vocabulary->scores.empty() && vocabulary->scores.size() != size) {
    return Corrupt("{}: tokenizer.ggml.scores has {} elements, tokens {}", metadata.path(), vocabulary->scores.size(),
                   size);
  }
  if (!vocabulary->token_types.empty() && vocabulary->token_types.size() != size) {
    return Corrupt("{}: tokenizer.ggml.token_type has {} elements, tokens {}", metadata.path(),
                   vocabulary->token_types.size(), size);
  }
  INGOT_ASSIGN_OR_RETURN(vocabulary->model, metadata.String("tokenizer.ggml.model"));
  INGOT_ASSIGN_OR_RETURN(vocabulary->pre, metadata.String("tokenizer.ggml.pre", ""));
  INGOT_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.bos_token_id", &vocabulary->bos_id));
  INGOT_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.eos_token_id", &vocabulary->eos_id));
  INGOT_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.eot_token_id", &vocabulary->eot_id));
  INGOT_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.eom_token_id", &vocabulary->eom_id));
  INGOT_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.unknown_token_id", &vocabulary->unk_id));
  INGOT_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.padding_token_id", &vocabulary->pad_id));
  INGOT_RETURN_IF_ERROR(ReadFlag(metadata, "tokenizer.ggml.add_bos_token", &vocabulary->add_bos));
  INGOT_RETURN_IF_ERROR(ReadFlag(metadata, "tokenizer.ggml.add_eos_token", &vocabulary->add_eos));
  return ReadFlag(metadata, "tokenizer.ggml.add_space_prefix", &vocabulary->add_space_prefix);
}

}  // namespace ingot::formats
