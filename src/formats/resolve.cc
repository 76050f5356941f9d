// ResolveModel: names of models to paths, by the layout of the Hugging Face cache. Never goes to the network.
#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/env.h"
#include "base/mapped_file.h"
#include "formats/checkpoint.h"
#include "formats/split_name.h"

namespace ingot::formats {
namespace {

namespace fs = std::filesystem;

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

struct ModelName {
  std::string organization, name, revision;  // revision: empty for the default
};

// Letters, digits, and . _ - but no leading dot, so that no part can lead elsewhere.
bool IsPlain(std::string_view part) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !part.empty() && part.size() <= 255 && part[0] != '.' && std::all_of(part.begin(), part.end(), allowed);
}

// Revisions may have slashes: "refs/pr/3" is asked for as pr/3.
bool IsPlainPath(std::string_view path) {
  while (true) {
    const size_t slash = path.find('/');
    if (!IsPlain(path.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    path = path.substr(slash + 1);
  }
}

// "Org/Name" or "Org/Name@revision"
std::optional<ModelName> ParseModelName(std::string_view text) {
  ModelName model;
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    model.revision = text.substr(at + 1);
    if (!IsPlainPath(model.revision)) return std::nullopt;
    text = text.substr(0, at);
  }
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  model.organization = text.substr(0, slash);
  model.name = text.substr(slash + 1);
  if (!IsPlain(model.organization) || !IsPlain(model.name)) return std::nullopt;
  return model;
}

fs::path CacheDirectory() {
  if (const auto cache = GetEnv("HF_HUB_CACHE")) return *cache;
  if (const auto home = GetEnv("HF_HOME")) return fs::path(*home) / "hub";
  if (const auto cache = GetEnv("XDG_CACHE_HOME")) return fs::path(*cache) / "huggingface" / "hub";
  return fs::path(GetEnv("HOME").value_or("/")) / ".cache" / "huggingface" / "hub";
}

// The snapshot that a revision names: a branch or tag by refs/, or a commit.
Result<fs::path> FindRevision(const fs::path& repository, const std::string& revision) {
  const fs::path ref = repository / "refs" / revision;
  std::error_code error;
  if (fs::is_regular_file(ref, error)) {
    INGOT_ASSIGN_OR_RETURN(std::string commit, ReadFile(ref.string(), 4096));
    commit.erase(commit.find_last_not_of(" \t\r\n") + 1);
    if (!IsPlain(commit)) return Corrupt("{}: \"{}\" is no commit", ref.string(), commit.substr(0, 64));
    return repository / "snapshots" / commit;
  }
  return repository / "snapshots" / revision;
}

Result<fs::path> NewestSnapshot(const fs::path& repository) {
  std::optional<std::pair<fs::file_time_type, fs::path>> newest;
  std::error_code error;
  for (fs::directory_iterator it(repository / "snapshots", error), end; !error && it != end; it.increment(error)) {
    std::error_code unused;
    if (!it->is_directory(unused)) continue;
    const std::pair<fs::file_time_type, fs::path> found = {it->last_write_time(unused), it->path()};
    if (!newest || found > *newest) newest = found;
  }
  if (!newest) return NotFound("{}: no snapshot", (repository / "snapshots").string());
  return newest->second;
}

Result<fs::path> FindSnapshot(const fs::path& repository, const std::string& revision) {
  if (!revision.empty()) return FindRevision(repository, revision);
  if (Exists(repository / "refs" / "main")) return FindRevision(repository, "main");
  return NewestSnapshot(repository);
}

// A snapshot with a configuration is a model; one without must hold one GGUF model.
Result<std::string> ModelOfSnapshot(const fs::path& snapshot) {
  if (Exists(snapshot / "config.json")) return snapshot.string();
  INGOT_ASSIGN_OR_RETURN(const auto models, FindGgufModels(snapshot.string()));
  if (models.size() == 1) return models[0];
  if (models.empty()) return NotFound("{}: neither config.json nor a .gguf file", snapshot.string());
  return InvalidArgument("{}: holds {} GGUF models; name one: {}", snapshot.string(), models.size(),
                         fmt::join(models, ", "));
}

}  // namespace

Result<std::string> ResolveModel(const std::string& name) {
  if (name.empty()) return InvalidArgument("the model's name is empty");
  if (name.find('\0') == std::string::npos && Exists(name)) return name;
  const auto model = ParseModelName(name);
  if (!model) return NotFound("{}: no such file or directory, and no Org/Name of the Hugging Face cache", name);
  const fs::path repository = CacheDirectory() / fmt::format("models--{}--{}", model->organization, model->name);
  if (!Exists(repository)) {
    return NotFound("{}: no such file or directory, and not in the Hugging Face cache ({})", name, repository.string());
  }
  INGOT_ASSIGN_OR_RETURN(const fs::path snapshot, FindSnapshot(repository, model->revision));
  if (!Exists(snapshot)) {
    return NotFound("{}: the Hugging Face cache has no such revision; looked for {}", name, snapshot.string());
  }
  return ModelOfSnapshot(snapshot);
}

}  // namespace ingot::formats
