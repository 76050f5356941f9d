#include "base/text_file.h"

#include "base/mapped_file.h"

namespace ingot {

Result<std::string> CleanText(std::string content, std::string_view name) {
  if (content.starts_with("\xFF\xFE") || content.starts_with("\xFE\xFF")) {
    return InvalidArgument("{}: the text is UTF-16; save it as UTF-8", name);
  }
  if (content.starts_with(kByteOrderMark)) content.erase(0, kByteOrderMark.size());
  size_t kept = 0;
  for (size_t i = 0; i < content.size(); ++i) {
    const bool pair = content[i] == '\r' && i + 1 < content.size() && content[i + 1] == '\n';
    if (!pair) content[kept++] = content[i];
  }
  content.resize(kept);
  return content;
}

Result<std::string> ReadTextFile(const std::string& path, size_t max_bytes) {
  INGOT_ASSIGN_OR_RETURN(std::string content, ReadFile(path, max_bytes));
  return CleanText(std::move(content), path);
}

}  // namespace ingot
