// Names of the parts of a split GGUF model, and the models of a directory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace ingot::formats {

inline constexpr int64_t kMaxSplits = 4096;

// "PREFIX-00001-of-00003.gguf"
struct SplitFile {
  std::string prefix;
  int64_t no, count;  // from 1
};
std::optional<SplitFile> ParseSplitName(std::string_view path);
std::string SplitName(const SplitFile& split);

// The .gguf files of a directory, sorted; of split models the first part only.
Result<std::vector<std::string>> FindGgufModels(const std::string& directory);

}  // namespace ingot::formats
