// Where the values of flags come from: the command line, the environment, or a file.
#pragma once

#include <string>
#include <vector>

#include "config_file.h"

namespace ingot::cli {

class Settings {
 public:
  // `typed`: the command line's arguments.
  Settings(std::vector<std::string> typed, ConfigFile config) : typed_(std::move(typed)), config_(std::move(config)) {}

  const std::vector<std::string>& typed() const { return typed_; }
  // All arguments: those that were typed, and those of the file.
  std::vector<std::string> Arguments() const;
  // The message, and where its first flag that nobody typed was set: "… (--session-len is set in ingot.yaml)".
  std::string WithSource(const std::string& message) const;

 private:
  std::string SourceOf(const std::string& flag) const;  // "in ingot.yaml", "by INGOT_SESSION_LEN"; "": it was typed
  const std::vector<std::string> typed_;
  const ConfigFile config_;
};

// A warning for each variable of the environment that begins with INGOT_ and sets nothing. `known`: the twins of all
// flags.
std::vector<std::string> UnknownVariables(char** environment, std::vector<std::string> known);

}  // namespace ingot::cli
