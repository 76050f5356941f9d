#include "settings.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/env.h"
#include "base/json.h"
#include "base/text_file.h"
#include "foreign_flags.h"

namespace ingot::cli {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

// What is read from the environment and is no flag, and what the build and the tests read.
constexpr const char* kOtherVariables[] = {
    "INGOT_MODELS_DIR", "INGOT_ISA",       "INGOT_CUDA_EMULATE", "INGOT_NO_HISTORY", "INGOT_DATASETS_DIR",
    "INGOT_BIN",        "INGOT_MODELS",    "INGOT_SOAK_SECONDS", "INGOT_NIGHTLY",    "INGOT_PYTHON",
    "INGOT_BENCH",      "INGOT_BASE_TEST", "INGOT_SANITIZE"};

// Their value is a JSON object.
constexpr std::string_view kJsonFlags[] = {"--override-generation-config", "--logit-bias", "--extra-body",
                                           "--extra-request-body"};

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

std::optional<std::string> NamedFile(const std::vector<std::string>& arguments) {
  constexpr std::string_view kFlag = "--config";
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == kFlag && i + 1 < arguments.size()) return arguments[i + 1];
    if (arguments[i].starts_with("--config=")) return arguments[i].substr(kFlag.size() + 1);
  }
  return GetEnv("INGOT_CONFIG");
}

// A map as the JSON object that flags like --override-generation-config take. What is quoted is text.
Status AppendJson(const YAML::Node& node, int depth, std::string* out) {
  constexpr int kMaxDepth = 16;
  if (depth > kMaxDepth || out->size() > kMaxConfigBytes)  // aliases repeat what they name
    return InvalidArgument("is nested more than {} deep, or longer than {} bytes", kMaxDepth, kMaxConfigBytes);
  if (node.IsNull()) {
    *out += "null";
  } else if (node.IsScalar()) {
    const std::string& text = node.Scalar();
    const auto plain = ParseJson(text, "");
    const bool is_text = node.Tag() == "!" || !plain || plain->is_structured();
    is_text ? AppendJsonString(*out, text) : void(*out += text);
  } else {
    const char* separator = "";
    *out += node.IsMap() ? '{' : '[';
    for (const auto& item : node) {
      *out += std::exchange(separator, ",");
      if (node.IsMap()) {
        AppendJsonString(*out, item.first.as<std::string>());
        *out += ':';
      }
      INGOT_RETURN_IF_ERROR(AppendJson(node.IsMap() ? item.second : item, depth + 1, out));
    }
    *out += node.IsMap() ? '}' : ']';
  }
  return {};
}

Status AppendSetting(const std::string& flag, const YAML::Node& value, std::vector<std::string>* out) {
  const bool is_empty = value.IsNull() || (value.IsSequence() && value.size() == 0);
  if (is_empty && flag.find("-keys") != std::string::npos) {
    return InvalidArgument("{}: has no key, which would let everyone in; leave the line out if that is intended",
                           flag.substr(2));
  }
  if (is_empty) return {};
  if (value.IsSequence()) {
    for (const YAML::Node& item : value) {
      if (!item.IsScalar()) return InvalidArgument("{}: a list holds plain values only", flag.substr(2));
      out->push_back(flag + "=" + item.Scalar());
    }
    return {};
  }
  if (value.IsMap() && std::ranges::find(kJsonFlags, flag) != std::end(kJsonFlags)) {
    std::string json;
    if (Status status = AppendJson(value, 0, &json); !status.ok()) return status.Annotate(flag.substr(2));
    out->push_back(flag + "=" + json);
    return {};
  }
  if (!value.IsScalar()) return InvalidArgument("{}: must be a plain value or a list", flag.substr(2));
  const std::string& text = value.Scalar();
  if (text == "true") {
    out->push_back(flag);
  } else if (text != "false") {
    out->push_back(flag + "=" + text);
  }
  return {};
}

}  // namespace

bool IsTyped(const std::vector<std::string>& arguments, const std::string& flag) {
  return std::ranges::any_of(
      arguments, [&](const std::string& argument) { return argument == flag || argument.starts_with(flag + "="); });
}

Result<Settings> Settings::Collect(std::vector<std::string> typed) {
  Settings settings;
  settings.typed_ = std::move(typed);
  if (const auto path = NamedFile(settings.typed_)) INGOT_RETURN_IF_ERROR(settings.Load(*path));
  return settings;
}

Status Settings::Load(const std::string& path) {
  path_ = path;
  INGOT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxConfigBytes));
  try {
    const YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return {};
    if (!root.IsMap()) {
      return InvalidArgument("{}: settings are `name: value` lines; this is {}", path,
                             root.IsSequence() ? "a list" : "one value");
    }
    for (const auto& entry : root) {
      std::string name = entry.first.as<std::string>();
      std::ranges::replace(name, '_', '-');
      if (name == "model") {
        if (!entry.second.IsScalar()) return InvalidArgument("{}: model: is one name or path", path);
        model_ = entry.second.Scalar();
        continue;
      }
      if (IsTyped(typed_, "--" + name) || GetEnv(EnvNameOfFlag(name).c_str())) continue;
      if (Status status = AppendSetting("--" + name, entry.second, &of_file_); !status.ok())
        return status.Annotate(path);
    }
  } catch (const YAML::Exception& error) {
    return InvalidArgument("{}: {}", path, error.what());
  }
  return {};
}

std::vector<std::string> Settings::Arguments() const {
  std::vector<std::string> all = typed_;
  all.insert(all.end(), of_file_.begin(), of_file_.end());
  return all;
}

std::string Settings::SourceOf(const std::string& flag) const {
  if (IsTyped(typed_, flag)) return "";
  if (IsTyped(of_file_, flag)) return "in " + path_;
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
  for (std::string& name : known) name.erase(0, kPrefix.size());  // what they share says nothing about their distance
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
