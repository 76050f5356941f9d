#include "settings.h"

#include <algorithm>

#include "base/env.h"
#include "foreign_flags.h"

namespace ingot::cli {
namespace {

// What is read from the environment and is no flag, and what the build and the tests read.
constexpr const char* kOtherVariables[] = {
    "INGOT_MODELS_DIR",   "INGOT_ISA",     "INGOT_NO_HISTORY", "INGOT_DATASETS_DIR", "INGOT_BIN",      "INGOT_MODELS",
    "INGOT_SOAK_SECONDS", "INGOT_NIGHTLY", "INGOT_PYTHON",     "INGOT_BENCH",        "INGOT_BASE_TEST"};

// Kubernetes sets these for a service that is called ingot.
bool IsOfService(std::string_view name) {
  return name.starts_with("INGOT_SERVICE_") || name == "INGOT_PORT" || name.starts_with("INGOT_PORT_");
}

// The flags that a text names, in their order.
std::vector<std::string> FlagsIn(const std::string& text) {
  constexpr const char* kLetters = "abcdefghijklmnopqrstuvwxyz0123456789-";
  std::vector<std::string> flags;
  for (size_t at = text.find("--"); at != std::string::npos; at = text.find("--", at)) {
    const size_t end = std::min(text.find_first_not_of(kLetters, at), text.size());
    flags.push_back(text.substr(at, end - at));
    at = end;
  }
  return flags;
}

}  // namespace

std::vector<std::string> Settings::Arguments() const {
  std::vector<std::string> all = typed_;
  all.insert(all.end(), config_.arguments.begin(), config_.arguments.end());
  return all;
}

std::string Settings::SourceOf(const std::string& flag) const {
  if (IsTyped(typed_, flag)) return "";
  if (IsTyped(config_.arguments, flag)) return "in " + config_.path;
  const std::string variable = EnvNameOfFlag(flag);
  return GetEnv(variable.c_str()) ? "by " + variable : "";
}

std::string Settings::WithSource(const std::string& message) const {
  for (const std::string& flag : FlagsIn(message)) {
    if (const std::string source = SourceOf(flag); !source.empty())
      return fmt::format("{} ({} is set {})", message, flag, source);
  }
  return message;
}

std::vector<std::string> UnknownVariables(char** environment, std::vector<std::string> known) {
  constexpr std::string_view kPrefix = "INGOT_";
  known.insert(known.end(), std::begin(kOtherVariables), std::end(kOtherVariables));
  for (std::string& name : known) name.erase(0, kPrefix.size());  // what they share tells nothing of their distance
  std::vector<std::string> warnings;
  for (char** entry = environment; *entry != nullptr; ++entry) {
    const std::string_view variable(*entry);
    const std::string_view name = variable.substr(0, variable.find('='));
    if (!name.starts_with(kPrefix) || IsOfService(name)) continue;
    const std::string_view rest = name.substr(kPrefix.size());
    if (std::find(known.begin(), known.end(), rest) != known.end()) continue;
    const std::string nearest = NearestOf(rest, known);
    warnings.push_back(fmt::format("{} is set, and sets nothing{}", name,
                                   nearest.empty() ? "" : fmt::format("; did you mean {}{}?", kPrefix, nearest)));
  }
  return warnings;
}

}  // namespace ingot::cli
