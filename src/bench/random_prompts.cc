#include "bench/random_prompts.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/check.h"

namespace ingot::bench {
namespace {

constexpr const char* kWords[] = {
    "time", "year",  "people",  "way",   "day",  "man",  "thing",  "world", "life", "hand",  "part",   "child",
    "eye",  "woman", "place",   "work",  "week", "case", "point",  "water", "room", "money", "story",  "fact",
    "line", "group", "car",     "city",  "name", "team", "minute", "idea",  "body", "back",  "parent", "face",
    "door", "art",   "history", "party", "and",  "of",   "in",     "with",  "for",  "to",    "from",   "not"};

constexpr int kRounds = 8;

}  // namespace

std::vector<int32_t> OrdinaryIds(const tokenizer::Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.IsSpecial(id) && !tokenizer.TokenBytes(id).empty()) ids.push_back(id);
  }
  return ids;
}

int64_t RandomPrompts::Length(int64_t length, double range_ratio) {
  INGOT_CHECK(range_ratio >= 0 && range_ratio <= 1);
  const auto spread = std::llround(static_cast<double>(length) * range_ratio);
  const int64_t low = std::max<int64_t>(length - spread, 1), high = std::max<int64_t>(length + spread, 1);
  return low + static_cast<int64_t>(Below(static_cast<uint64_t>(high - low + 1)));
}

std::vector<int32_t> RandomPrompts::Ids(const std::vector<int32_t>& ids, int64_t count) {
  INGOT_CHECK(!ids.empty());
  std::vector<int32_t> drawn(static_cast<size_t>(count));
  for (int32_t& id : drawn) id = ids[Below(ids.size())];
  return drawn;
}

std::string RandomPrompts::Text(const tokenizer::Tokenizer& tokenizer, const std::vector<int32_t>& ids, int64_t count) {
  const auto wanted = static_cast<size_t>(count);
  std::string text = tokenizer.Decode(Ids(ids, count));
  for (int round = 0; round < kRounds; ++round) {
    std::vector<int32_t> encoded = tokenizer.Encode(text, {.add_special_tokens = false});
    if (encoded.size() == wanted) break;
    encoded.resize(std::min(encoded.size(), wanted));
    const auto more = Ids(ids, static_cast<int64_t>(wanted - encoded.size()));
    encoded.insert(encoded.end(), more.begin(), more.end());
    text = tokenizer.Decode(encoded);
  }
  return text;
}

std::string RandomPrompts::Words(int64_t count) {
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0) text += ' ';
    text += kWords[Below(std::size(kWords))];
  }
  return text;
}

}  // namespace ingot::bench
