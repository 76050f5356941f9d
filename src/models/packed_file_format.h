// How a file of packed weights is laid out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/hash.h"

namespace ingot::models {

// Header, table of entries, matrices; numbers in the byte order of x86.
struct PackedHeader {
  char magic[8];
  char key[32];
  uint64_t count;       // entries
  uint64_t file_bytes;  // of the whole file
  uint64_t table_hash;  // of this header, with 0 in this place, and the entries
};
struct PackedEntry {
  uint64_t offset, bytes;
  uint64_t hash;  // of the matrix
  uint64_t head_hash;
};

inline constexpr std::string_view kPackedMagic = "INGOTPW1";  // the last character is the version of this form
inline constexpr uint64_t kPackedAlignment = 4096;            // of a matrix: a page

inline std::string_view TextOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline uint64_t PackedTableHash(PackedHeader header, std::span<const std::byte> entries) {
  header.table_hash = 0;
  const std::array<uint64_t, 2> hashes = {Hash64({reinterpret_cast<const char*>(&header), sizeof header}),
                                          Hash64(TextOf(entries))};
  return Hash64({reinterpret_cast<const char*>(&hashes), sizeof hashes});
}

}  // namespace ingot::models
