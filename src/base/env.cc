#include "base/env.h"

#include <cstdlib>

namespace ingot {

std::optional<std::string> GetEnv(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

std::string EnvNameOfFlag(std::string_view flag) {
  while (flag.starts_with('-')) flag.remove_prefix(1);
  std::string name = "INGOT_";
  for (const char c : flag) {
    name += c == '-' ? '_' : (c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
  }
  return name;
}

}  // namespace ingot
