#include "bench/dataset.h"

#include <algorithm>

#include "base/json.h"
#include "base/text_file.h"

namespace ingot::bench {
namespace {

constexpr size_t kMaxBytes = size_t{4} << 30;
constexpr std::string_view kBlank = " \t\r\n";

// nullopt: fewer than two turns.
Result<std::optional<DatasetEntry>> FromConversation(const JsonView& turns) {
  INGOT_ASSIGN_OR_RETURN(const auto* array, turns.AsArray());
  if (array->size() < 2) return std::nullopt;
  DatasetEntry entry;
  INGOT_ASSIGN_OR_RETURN(entry.prompt, turns.At(0).String("value"));
  INGOT_ASSIGN_OR_RETURN(entry.reply, turns.At(1).String("value"));
  if (entry.prompt.empty()) return std::nullopt;
  return entry;
}

Result<std::optional<DatasetEntry>> FromBody(const JsonView& body, std::string url) {
  INGOT_ASSIGN_OR_RETURN(const auto* members, body.AsObject());
  const bool has_messages = body.Find("messages").has_value();
  if (!has_messages && !body.Find("prompt")) return InvalidArgument("{} has neither messages nor prompt", body.path());
  if (url.empty()) url = has_messages ? "/v1/chat/completions" : "/v1/completions";
  return DatasetEntry{.url = std::move(url), .body = *members};
}

Result<std::optional<DatasetEntry>> FromObject(const JsonView& object) {
  if (const auto turns = object.Find("conversations")) return FromConversation(*turns);
  if (const auto body = object.Find("body")) {
    INGOT_ASSIGN_OR_RETURN(std::string url, object.String("url", ""));
    return FromBody(*body, std::move(url));
  }
  if (object.Find("messages")) return FromBody(object, "");
  DatasetEntry entry;
  INGOT_ASSIGN_OR_RETURN(entry.prompt, object.String("prompt"));
  INGOT_ASSIGN_OR_RETURN(entry.reply, object.String("completion", ""));
  for (const char* name : {"output_len", "output_tokens"}) {
    if (!object.Find(name)) continue;
    INGOT_ASSIGN_OR_RETURN(entry.output_len, object.Int(name));
    if (*entry.output_len < 1) return InvalidArgument("{}.{} is below 1", object.path(), name);
  }
  if (entry.prompt.empty()) return InvalidArgument("{}.prompt is empty", object.path());
  return entry;
}

Result<std::vector<DatasetEntry>> FromArray(std::string_view text, const std::string& path, size_t max_entries) {
  INGOT_ASSIGN_OR_RETURN(const auto json, ParseJson(text, path));
  const JsonView list(json, path);
  INGOT_ASSIGN_OR_RETURN(const auto* array, list.AsArray());
  std::vector<DatasetEntry> entries;
  for (size_t i = 0; i < array->size() && entries.size() < max_entries; ++i) {
    INGOT_ASSIGN_OR_RETURN(auto entry, FromObject(list.At(i)));
    if (entry) entries.push_back(*std::move(entry));
  }
  return entries;
}

Result<std::vector<DatasetEntry>> FromLines(std::string_view text, const std::string& path, size_t max_entries) {
  const bool is_json = text[text.find_first_not_of(kBlank)] == '{';
  std::vector<DatasetEntry> entries;
  for (size_t at = 0, number = 1; at < text.size() && entries.size() < max_entries; ++number) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    line.remove_suffix(line.ends_with('\r') ? 1 : 0);
    if (line.find_first_not_of(kBlank) == std::string_view::npos) continue;
    if (!is_json) {
      entries.push_back({.prompt = std::string(line)});
      continue;
    }
    const std::string name = fmt::format("{}:{}", path, number);
    INGOT_ASSIGN_OR_RETURN(const auto json, ParseJson(line, name));
    INGOT_ASSIGN_OR_RETURN(auto entry, FromObject(JsonView(json, name)));
    if (entry) entries.push_back(*std::move(entry));
  }
  return entries;
}

}  // namespace

Result<std::vector<DatasetEntry>> ReadDataset(const std::string& path, size_t max_entries) {
  INGOT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxBytes));
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return InvalidArgument("{} has no prompts", path);
  INGOT_ASSIGN_OR_RETURN(auto entries,
                         text[first] == '[' ? FromArray(text, path, max_entries) : FromLines(text, path, max_entries));
  if (entries.empty()) return InvalidArgument("{} has no prompts", path);
  return entries;
}

}  // namespace ingot::bench
