// Server-sent events, as the HTML standard reads them.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace ingot::client {

struct SseEvent {
  std::string type;  // of its `event:` line; "message" without one
  std::string data;  // `data:` lines, joined by \n
};

// Bytes in, in pieces of any size; events out as soon as they are whole. Lines end in \n, \r\n or \r; comments (pings)
// and what is no event are passed over. An event that the stream breaks off in is none.
class SseParser {
 public:
  explicit SseParser(std::function<void(const SseEvent&)> on_event, size_t max_event_bytes = size_t{16} << 20)
      : on_event_(std::move(on_event)), max_event_bytes_(max_event_bytes) {}

  // kResourceExhausted once an event exceeds the bound; the stream cannot be read on then.
  Status Feed(std::string_view bytes);

 private:
  void TakeLine();
  void Dispatch();

  const std::function<void(const SseEvent&)> on_event_;
  const size_t max_event_bytes_;
  std::string line_;       // what has come of the present one
  SseEvent event_;         // what has come of the present one
  bool has_data_ = false;  // a data: line, were it empty
  bool after_cr_ = false;  // a \n that follows belongs to the \r before it
  bool at_start_ = true;   // of the stream, where a byte order mark may stand
};

}  // namespace ingot::client
