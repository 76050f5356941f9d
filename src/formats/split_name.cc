#include "formats/split_name.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

namespace ingot::formats {
namespace {

// Five digits.
std::optional<int64_t> ParseNumber(std::string_view digits) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size() || number < 1) return std::nullopt;
  return number;
}

}  // namespace

std::optional<SplitFile> ParseSplitName(std::string_view path) {
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (path.size() <= kPattern.size()) return std::nullopt;
  const std::string_view tail = path.substr(path.size() - kPattern.size());
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf") return std::nullopt;
  const auto no = ParseNumber(tail.substr(1, 5)), count = ParseNumber(tail.substr(10, 5));
  if (!no || !count || *no > *count) return std::nullopt;
  return SplitFile{std::string(path.substr(0, path.size() - kPattern.size())), *no, *count};
}

std::string SplitName(const SplitFile& split) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", split.prefix, split.no, split.count);
}

Result<std::vector<std::string>> FindGgufModels(const std::string& directory) {
  std::vector<std::string> models;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string path = it->path().string();
    if (!path.ends_with(".gguf")) continue;
    const auto split = ParseSplitName(path);
    if (!split || split->no == 1) models.push_back(path);
  }
  if (error) return Io("{}: cannot list: {}", directory, error.message());
  std::sort(models.begin(), models.end());
  return models;
}

}  // namespace ingot::formats
