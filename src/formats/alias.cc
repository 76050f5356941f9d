#include "formats/alias.h"

#include <filesystem>
#include <vector>

#include "base/env.h"

namespace ingot::formats {
namespace {

namespace fs = std::filesystem;

std::string AliasFile(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".gguf") return it->path().string();
  }
  return "";
}

}  // namespace

std::string ResolveAlias(const std::string& name) {
  std::error_code error;
  if (name.find('/') != std::string::npos || fs::exists(name, error)) return name;
  std::vector<fs::path> folders;
  if (const auto models = GetEnv("INGOT_MODELS_DIR")) folders.emplace_back(*models);
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (!error) folders.push_back(self.parent_path() / "../../models");  // build/release/bin → build/models
  if (const auto cache = GetEnv("XDG_CACHE_HOME")) {
    folders.push_back(fs::path(*cache) / "ingot/models");
  } else if (const auto home = GetEnv("HOME")) {
    folders.push_back(fs::path(*home) / ".cache/ingot/models");
  }
  for (const fs::path& folder : folders) {
    if (std::string file = AliasFile(folder / name); !file.empty()) return file;
  }
  return name;
}

}  // namespace ingot::formats
