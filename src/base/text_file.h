// Text files that people write: API keys, settings, prompts, templates, calibration texts.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace ingot {

inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// The content as it was meant: without the byte order mark that editors on Windows put first, and with "\n" for "\r\n".
// kInvalidArgument for UTF-16, which begins with a byte order mark of its own. `name` opens the error.
Result<std::string> CleanText(std::string content, std::string_view name);
// ReadFile, then CleanText.
Result<std::string> ReadTextFile(const std::string& path, size_t max_bytes = size_t{1} << 30);

}  // namespace ingot
