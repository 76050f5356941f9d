// Environment variables: every flag --some-name has the twin INGOT_SOME_NAME.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ingot {

// nullopt when unset or empty.
std::optional<std::string> GetEnv(const char* name);
// "session-len" → "INGOT_SESSION_LEN"
std::string EnvNameOfFlag(std::string_view flag);

}  // namespace ingot
