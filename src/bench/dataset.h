// Prompts that are kept in files.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace ingot::bench {

// One prompt: text, or a request as it stands.
struct DatasetEntry {
  std::string prompt;
  std::string reply;  // what was answered once; "": unknown. Its length is how long an answer should be
  std::optional<int64_t> output_len;
  std::string url;           // "/v1/chat/completions" or "/v1/completions" where there is a body
  boost::json::object body;  // with messages or prompt; empty: `prompt` is all there is
};

// The first `max_entries` of a file, which is one of
// - ShareGPT's JSON: [{"conversations": [{"from": …, "value": …}, …]}, …]; the first two turns are prompt and reply,
// and
//   what has fewer is left out;
// - objects, one a line: OpenAI's batch format ({"url", "body"}), or {"messages"}, {"prompt"} (text, with "output_len"
// or
//   "output_tokens", and "completion" for a reply) or {"conversations"};
// - anything else: text, a prompt a line; empty lines are left out.
// kInvalidArgument, with the line or element, for what is none of these, and for a file without prompts.
Result<std::vector<DatasetEntry>> ReadDataset(const std::string& path, size_t max_entries);

}  // namespace ingot::bench
