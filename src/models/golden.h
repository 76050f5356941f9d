// For tests: logits of transformers for every family (tests/goldens), and how far from them others are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/json.h"

namespace ingot::models {

namespace fs = std::filesystem;

// Tests that were carried to another machine (tools/gpu_check.sh) have their files elsewhere.
inline const fs::path kSource = GetEnv("INGOT_SOURCE_DIR").value_or(INGOT_SOURCE_DIR);
inline const fs::path kGoldens = kSource / "tests" / "goldens";
// The same of checkpoints that AutoAWQ, GPTQModel and compressed-tensors wrote.
inline const fs::path kQuantizedGoldens = kSource / "tests" / "quantized_goldens";

inline std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Case {
  int64_t session_len;
  std::vector<int32_t> prompt;
  std::vector<float> logits;  // [prompt, vocab_size]
};

inline std::vector<Case> ReadCases(const fs::path& folder) {
  const auto json = ParseJson(ReadFile(folder / "reference.json"), "reference.json").value();
  std::vector<Case> cases;
  for (const auto& entry : json.at("cases").as_array()) {
    Case c{.session_len = entry.at("session_len").as_int64()};
    for (const auto& id : entry.at("prompt").as_array()) c.prompt.push_back(static_cast<int32_t>(id.as_int64()));
    const std::string bytes = ReadFile(folder / std::string(entry.at("logits").as_string()));
    c.logits.resize(bytes.size() / sizeof(float));
    std::memcpy(c.logits.data(), bytes.data(), bytes.size());
    cases.push_back(std::move(c));
  }
  return cases;
}

inline std::vector<std::string> NamesIn(const fs::path& goldens) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(goldens)) {
    if (fs::exists(entry.path() / "reference.json")) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// max |Δ| / rms(reference); NaN if either holds one; infinite if they are of different sizes.
inline double Distance(const std::vector<float>& logits, const std::vector<float>& reference) {
  if (logits.size() != reference.size() || reference.empty()) return INFINITY;
  double worst = 0.0, squares = 0.0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double difference = std::abs(double{logits[i]} - double{reference[i]});
    if (!(difference <= worst)) worst = difference;
    squares += double{reference[i]} * double{reference[i]};
  }
  return worst / std::sqrt(squares / static_cast<double>(reference.size()));
}

// rms(Δ) / rms(reference); NaN if either holds one.
inline double MeanDistance(const std::vector<float>& logits, const std::vector<float>& reference) {
  double differences = 0.0, squares = 0.0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double difference = double{logits[i]} - double{reference[i]};
    differences += difference * difference;
    squares += double{reference[i]} * double{reference[i]};
  }
  return std::sqrt(differences / squares);
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace ingot::models
