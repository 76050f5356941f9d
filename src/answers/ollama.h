// What ollama's answers have in common.
#pragma once

#include <chrono>
#include <string>

namespace ingot::answers {

// "2026-01-31T12:34:56.789012Z"
std::string OllamaTime(std::chrono::system_clock::time_point time);

}  // namespace ingot::answers
