// Flags that users of LMDeploy, vLLM and llama.cpp would type, answered with ours.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli.h"

namespace ingot::cli {

// Those that only say what is so here anyway, as launch scripts do: --dp 1. They are taken and change nothing.
void AddFlagsInEffect(Flags& flags);

// The name nearest to `word` by edit distance, if it is near enough to be a slip; "" otherwise.
std::string NearestOf(std::string_view word, const std::vector<std::string>& names);

// "--max-model-len: here it is --session-len", or the nearest of `known`, the flags of `command`, or just that there is
// no such flag.
std::string ExplainUnknownFlag(const std::string& flag, const std::vector<std::string>& known,
                               const std::string& command);

}  // namespace ingot::cli
