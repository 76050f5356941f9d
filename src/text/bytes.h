// Numbers of bytes, as people read and write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ingot {

std::string FormatBytes(int64_t bytes);  // "1.25 GiB"
// As flags take sizes, with at most one decimal: "22.4GiB" is the most that is no more than `bytes`, or the least that
// is no less. ParseBytes reads both. REQUIRES: bytes >= 0
std::string SizeAtMost(int64_t bytes);
std::string SizeAtLeast(int64_t bytes);
// "2GiB", "500MB", "1.5K", "1073741824"; nullopt for what is no size.
std::optional<int64_t> ParseBytes(const std::string& text);

}  // namespace ingot
