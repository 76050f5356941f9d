// Settings from a YAML file: keys are the names of flags.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace ingot::cli {

// Where the arguments (or INGOT_CONFIG) name a file with --config: what it sets, as arguments ("--session-len=4096"),
// but for what the command line or the environment sets already. A list repeats its flag; true and false set a flag
// without a value, or leave it.
Result<std::vector<std::string>> ArgumentsOfConfigFile(const std::vector<std::string>& arguments);

}  // namespace ingot::cli
