#include "engine/drafter.h"

#include <algorithm>

namespace ingot::engine {

void LookupDrafter::Propose(std::span<const int32_t> tokens, int64_t limit, std::vector<int32_t>* drafts) {
  const auto size = static_cast<int64_t>(tokens.size());
  const auto last = tokens.rbegin();
  int64_t longest = kMinRepeated - 1, follows = size;
  for (int64_t end = size - 1; end > longest && longest < kMaxRepeated; --end) {
    // Tokens before `end` that are the last ones of all.
    const auto at = tokens.rbegin() + (size - end);
    const int64_t most = std::min(kMaxRepeated, end);
    int64_t same = 0;
    while (same < most && at[same] == last[same]) ++same;
    if (same <= longest) continue;
    longest = same;
    follows = end;
  }
  const auto count = static_cast<size_t>(std::min(limit, size - follows));
  const auto guess = tokens.subspan(static_cast<size_t>(follows), count);
  drafts->insert(drafts->end(), guess.begin(), guess.end());
}

}  // namespace ingot::engine
