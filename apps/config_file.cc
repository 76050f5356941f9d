#include "config_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <optional>

#include "base/env.h"
#include "base/text_file.h"

namespace ingot::cli {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

std::optional<std::string> NamedFile(const std::vector<std::string>& arguments) {
  constexpr std::string_view kFlag = "--config";
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == kFlag && i + 1 < arguments.size()) return arguments[i + 1];
    if (arguments[i].starts_with("--config=")) return arguments[i].substr(kFlag.size() + 1);
  }
  return GetEnv("INGOT_CONFIG");
}

Status AppendSetting(const std::string& flag, const YAML::Node& value, std::vector<std::string>* out) {
  const bool is_empty = value.IsNull() || (value.IsSequence() && value.size() == 0);
  if (is_empty && flag.find("-keys") != std::string::npos) {
    return InvalidArgument("{}: has no key, which would let everybody in; leave the line out if that is meant",
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
  return std::any_of(arguments.begin(), arguments.end(),
                     [&](const std::string& argument) { return argument == flag || argument.starts_with(flag + "="); });
}

Result<ConfigFile> LoadConfig(const std::vector<std::string>& arguments) {
  ConfigFile config;
  const std::optional<std::string> path = NamedFile(arguments);
  if (!path) return config;
  config.path = *path;
  INGOT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(*path, kMaxConfigBytes));
  try {
    const YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return config;
    if (!root.IsMap()) {
      return InvalidArgument("{}: settings are `name: value` lines; this is {}", *path,
                             root.IsSequence() ? "a list" : "one value");
    }
    for (const auto& entry : root) {
      std::string name = entry.first.as<std::string>();
      std::replace(name.begin(), name.end(), '_', '-');
      if (IsTyped(arguments, "--" + name) || GetEnv(EnvNameOfFlag(name).c_str())) continue;
      if (Status status = AppendSetting("--" + name, entry.second, &config.arguments); !status.ok())
        return Error(status.Annotate(*path));
    }
  } catch (const YAML::Exception& error) {
    return InvalidArgument("{}: {}", *path, error.what());
  }
  return config;
}

}  // namespace ingot::cli
