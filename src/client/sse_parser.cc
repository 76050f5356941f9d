#include "client/sse_parser.h"

#include <utility>

#include "base/text_file.h"

namespace ingot::client {

Status SseParser::Feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (std::exchange(after_cr_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      continue;
    }
    const size_t end = bytes.find_first_of("\r\n");
    line_.append(bytes.substr(0, end));
    if (line_.size() + event_.data.size() > max_event_bytes_)
      return ResourceExhausted("a server-sent event exceeds {} bytes", max_event_bytes_);
    if (end == std::string_view::npos) return {};
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    TakeLine();
  }
  return {};
}

void SseParser::TakeLine() {
  std::string_view line = line_;
  if (std::exchange(at_start_, false) && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
  if (line.empty()) {
    Dispatch();
  } else if (line.front() != ':') {
    const size_t colon = line.find(':');
    const std::string_view name = line.substr(0, colon);
    std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (name == "data") {
      if (has_data_) event_.data += '\n';
      event_.data += value;
      has_data_ = true;
    } else if (name == "event") {
      event_.type = value;
    }
  }
  line_.clear();
}

void SseParser::Dispatch() {
  if (event_.type.empty()) event_.type = "message";
  const SseEvent event = std::exchange(event_, {});
  if (std::exchange(has_data_, false)) on_event_(event);
}

}  // namespace ingot::client
