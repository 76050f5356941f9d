// Settings from a YAML file: keys are the names of flags.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace ingot::cli {

struct ConfigFile {
  std::string path;                    // "": there is none
  std::vector<std::string> arguments;  // what it sets: "--session-len=4096"
};

// Where the arguments (or INGOT_CONFIG) name a file with --config: what it sets, but for what the command line or the
// environment sets already. A list repeats its flag; true and false set a flag without a value, or leave it.
Result<ConfigFile> LoadConfig(const std::vector<std::string>& arguments);

// Whether one of the arguments gives this flag ("--session-len").
bool IsTyped(const std::vector<std::string>& arguments, const std::string& flag);

}  // namespace ingot::cli
