// The Python package, where a command needs it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common.h"

namespace ingot::cli {

// An interpreter that has these modules: the one that INGOT_PYTHON names, or python3.
std::optional<std::string> FindPython(const std::vector<std::string>& modules);

// Where PyTorch is to compute this model, runs the same command line again inside of a Python interpreter with the
// package, and does not return. Else, and where this is one, OK.
Status EnterPython(const ModelFlags& model);

// The words of this process's command line, its program included.
Result<std::vector<std::string>> CommandLine();

}  // namespace ingot::cli
