// Any bytes, cut anywhere, give the events that they give in one piece; none exceeds the bound.
#include <cstdlib>
#include <vector>

#include "client/sse_parser.h"

namespace {

constexpr size_t kMaxEvent = 4096;

// Fed in pieces of `piece` bytes (0: whole). `ok` tells whether all was read.
std::vector<std::string> Events(std::string_view text, size_t piece, bool* ok) {
  std::vector<std::string> events;
  ingot::client::SseParser parser(
      [&](const ingot::client::SseEvent& event) {
        if (event.data.size() > kMaxEvent || event.type.empty()) std::abort();
        events.push_back(event.type + '\0' + event.data);
      },
      kMaxEvent);
  *ok = true;
  while (*ok && !text.empty()) {
    const std::string_view part = text.substr(0, piece == 0 ? text.size() : piece);
    *ok = parser.Feed(part).ok();
    text.remove_prefix(part.size());
  }
  return events;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  bool whole_ok = false, cut_ok = false;
  const auto whole = Events(text, 0, &whole_ok), cut = Events(text, 1 + data[0], &cut_ok);
  if (whole != cut || whole_ok != cut_ok) std::abort();
  return 0;
}
