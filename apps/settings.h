// Where the values of flags come from: the command line, the environment, or a YAML file whose keys are the names of
// flags.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace ingot::cli {

class Settings {
 public:
  // `typed`: the command line's arguments, which may name a file with --config, as INGOT_CONFIG may. Of the file counts
  // what neither the command line nor the environment sets. A list repeats its flag; true and false set a flag without
  // a value, or leave it; a map is the JSON of a flag that takes it.
  static Result<Settings> Collect(std::vector<std::string> typed);

  const std::vector<std::string>& typed() const { return typed_; }
  // All arguments: those that were typed, and those of the file.
  std::vector<std::string> Arguments() const;
  // MODEL of the file, for where neither the command line nor the environment names one; "": there is none.
  const std::string& model() const { return model_; }
  // The message, and where its first flag that was not typed was set: "… (--session-len is set in ingot.yaml)".
  std::string WithSource(const std::string& message) const;

 private:
  Status Load(const std::string& path);
  std::string SourceOf(const std::string& flag) const;  // "in ingot.yaml", "by INGOT_SESSION_LEN"; "": it was typed

  std::vector<std::string> typed_, of_file_;  // "--session-len=4096"
  std::string path_;                          // of the file; "": there is none
  std::string model_;
};

// Whether one of the arguments gives this flag ("--session-len").
bool IsTyped(const std::vector<std::string>& arguments, const std::string& flag);

// A warning for each variable of the environment that begins with INGOT_ and sets nothing. `known`: the twins of all
// flags.
std::vector<std::string> UnknownVariables(char** environment, std::vector<std::string> known);

}  // namespace ingot::cli
