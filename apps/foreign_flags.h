// What users of LMDeploy, vLLM and llama.cpp type, in the words of this program.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ingot::cli {

// Their names of our flags become ours, `ingot serve MODEL` is `ingot serve api_server MODEL`, and a flag that only
// says what is so here anyway (--dp 1, --trust-remote-code) is left out. So is one that no answer depends on (-ngl 99),
// and `remarks` gets a line about it.
std::vector<std::string> Translate(const std::vector<std::string>& arguments, std::vector<std::string>* remarks);

// One line about a command of theirs that is not here: what to do instead. "": it is none of these.
std::string ExplainForeignCommand(const std::vector<std::string>& arguments);

// The name nearest to `word` by edit distance, if it is near enough to be a slip; "" otherwise.
std::string NearestOf(std::string_view word, const std::vector<std::string>& names);

// What "--lora-modules" is here, or the nearest of `known`, the flags of `command`, or just that there is no such flag.
std::string ExplainUnknownFlag(const std::string& flag, const std::vector<std::string>& known,
                               const std::string& command);

}  // namespace ingot::cli
