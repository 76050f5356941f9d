// The metadata section of a GGUF file.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "base/vocabulary.h"
#include "formats/byte_reader.h"
#include "formats/gguf_types.h"

namespace ingot::formats {

// Reads keys and values into JSON, except for the four arrays of the vocabulary, which go to `vocabulary`.
class GgufMetadataReader {
 public:
  GgufMetadataReader(ByteReader* reader, boost::json::object* metadata, GgufVocabulary* vocabulary)
      : reader_(reader), metadata_(metadata), vocabulary_(vocabulary) {}
  Status Read(uint64_t count);

 private:
  Status ReadPair();
  Result<GgufType> ReadType(std::string_view field);
  Result<boost::json::value> ReadValue(GgufType type, std::string_view key, int depth);
  Result<boost::json::value> ReadArray(std::string_view key, int depth);
  Result<std::string_view> ReadString(std::string_view key);
  Result<bool> ReadVocabularyArray(std::string_view key);  // false: it is none
  Result<uint64_t> ReadArrayHeader(std::string_view key, GgufType expected);
  Status ReadStrings(std::string_view key, std::vector<std::string>* out);
  template <typename T>
  Status ReadNumbers(std::string_view key, GgufType type, std::vector<T>* out);
  template <typename T>
  Result<boost::json::value> ReadScalar(std::string_view key);

  ByteReader* reader_;
  boost::json::object* metadata_;
  GgufVocabulary* vocabulary_;
  uint64_t array_elements_ = 0;  // in metadata_
};

// Checks the vocabulary's arrays against each other and fills its numbers from the metadata.
Status FinishVocabulary(const JsonView& metadata, GgufVocabulary* vocabulary);

}  // namespace ingot::formats
