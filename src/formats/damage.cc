#include "formats/damage.h"

#include <algorithm>
#include <cctype>
#include <cstring>

namespace ingot::formats {
namespace {

uint64_t Below(uint64_t limit, Random* random) { return limit == 0 ? 0 : (*random)() % limit; }

// A number that parsers get wrong: borders of types, of the file, and neighbours of what was there.
uint64_t TellingNumber(uint64_t old, size_t file_bytes, Random* random) {
  const uint64_t numbers[] = {0,
                              1,
                              2,
                              3,
                              31,
                              255,
                              256,
                              0x7fff,
                              0xffff,
                              0x7fffffff,
                              0x80000000,
                              0xffffffff,
                              0x100000000,
                              0x7fffffffffffffff,
                              0x8000000000000000,
                              0xffffffffffffffff,
                              0x5555555555555556,  // times 3 is 2: products that wrap
                              0x4000000000000001,
                              old + 1,
                              old - 1,
                              old * 2,
                              old / 2,
                              old ^ 0x80,
                              file_bytes,
                              file_bytes - 1,
                              file_bytes + 1,
                              file_bytes - old,
                              (*random)() % 16,
                              (*random)()};
  return numbers[Below(std::size(numbers), random)];
}

void DamageField(const Sample& sample, std::string* bytes, Random* random) {
  const Field& field = sample.fields[Below(sample.fields.size(), random)];
  uint64_t old = 0;
  std::memcpy(&old, bytes->data() + field.offset, field.bytes);
  const uint64_t number = TellingNumber(old, bytes->size(), random);
  std::memcpy(bytes->data() + field.offset, &number, field.bytes);
}

constexpr const char* kNumbers[] = {"0",    "-1",  "1",  "2147483648", "9223372036854775807",  "9223372036854775808",
                                    "1e3",  "0.5", "-0", "1e999",      "18446744073709551616", "null",
                                    "true", "[]",  "{}", "\"x\"",      "6148914691236517206",  "00"};
constexpr const char* kWords[] = {"",        "F16",  "F64",        "BOOL",        "U64",   "a",    "__metadata__",
                                  "..",      "../x", "shape",      "F4",          "dtype", "text", "\\u0000",
                                  "\\ud800", "\xff", "weight_map", "data_offsets"};

// Replaces a number or a string of JSON text in [begin, end).
void DamageJson(size_t begin, size_t end, std::string* bytes, Random* random) {
  end = std::min(end, bytes->size());
  if (begin >= end) return;
  size_t at = begin + Below(end - begin, random);
  const bool number = Below(3, random) != 0;
  const auto starts = [&](size_t i) {
    const char c = (*bytes)[i];
    return number ? (std::isdigit(static_cast<unsigned char>(c)) != 0) : c == '"';
  };
  while (at < end && !starts(at)) ++at;
  if (at >= end) return;
  size_t stop = at + 1;
  if (number) {
    while (stop < end && std::isdigit(static_cast<unsigned char>((*bytes)[stop])) != 0) ++stop;
    bytes->replace(at, stop - at, kNumbers[Below(std::size(kNumbers), random)]);
  } else {
    while (stop < end && (*bytes)[stop] != '"') ++stop;
    bytes->replace(at + 1, stop - at - 1, kWords[Below(std::size(kWords), random)]);
  }
}

// Drops, doubles or exchanges a piece of the header: braces, commas, opcodes, operands.
void DamagePiece(size_t header, std::string* bytes, Random* random) {
  const size_t limit = std::min(header, bytes->size());
  const size_t at = Below(limit, random);
  const size_t length = std::min<size_t>(1 + Below(12, random), bytes->size() - at);
  const std::string piece = bytes->substr(at, length);
  switch (Below(4, random)) {
    case 0:
      bytes->erase(at, length);
      break;
    case 1:
      bytes->insert(at, piece);
      break;
    case 2:
      bytes->insert(Below(limit, random), piece);
      break;
    default:
      (*bytes)[at] = static_cast<char>((*random)());
      break;
  }
}

bool IsText(const Sample& sample) { return sample.bytes.find("{\"") < 16; }

}  // namespace

std::string DamageHeader(const Sample& sample, Random* random) {
  std::string bytes = sample.bytes;
  const uint64_t rounds = 1 + Below(3, random);
  // Fields first: later damage moves what follows.
  if (!sample.fields.empty() && (!IsText(sample) || Below(8, random) == 0)) {
    for (uint64_t i = 0; i < rounds; ++i) DamageField(sample, &bytes, random);
    if (Below(4, random) != 0) return bytes;
  }
  const size_t begin = sample.fields.empty() ? 0 : 8;
  for (uint64_t i = 0; i < rounds; ++i) {
    if (IsText(sample) && Below(3, random) != 0) {
      DamageJson(begin, sample.header_bytes, &bytes, random);
    } else {
      DamagePiece(sample.header_bytes, &bytes, random);
    }
  }
  // A header that grew or shrank is only looked into when its length says so.
  if (IsText(sample) && begin == 8 && Below(4, random) != 0) {
    const uint64_t length = sample.header_bytes - 8 + bytes.size() - sample.bytes.size();
    std::memcpy(bytes.data(), &length, sizeof(length));
  }
  return bytes;
}

std::string DamageBytes(const Sample& sample, Random* random) {
  std::string bytes = sample.bytes;
  for (uint64_t rounds = 1 + Below(8, random); rounds > 0 && !bytes.empty(); --rounds) {
    const size_t at = Below(bytes.size(), random);
    switch (Below(6, random)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(8, random)));
        break;
      case 1:
        bytes[at] = static_cast<char>((*random)());
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(at, 1 + Below(64, random));
        break;
      case 4:
        bytes.insert(Below(bytes.size(), random), bytes.substr(at, 1 + Below(64, random)));
        break;
      default:
        bytes.append(1 + Below(64, random), static_cast<char>((*random)()));
        break;
    }
  }
  return bytes;
}

}  // namespace ingot::formats
